"""The first start, the later ones, and the command for them."""

import re
import stat
from io import StringIO
from pathlib import Path
from uuid import UUID

import pytest
from django.contrib.auth.hashers import check_password
from django.contrib.auth.models import User
from django.core.management import call_command
from pytest_django import DjangoAssertNumQueries, Settings

from chatgateway import setup
from chatgateway.setup import Bootstrapped, bootstrap, first_steps
from conversations.models import Document, Pipeline, Route

pytestmark = pytest.mark.django_db

ADDRESS = "http://127.0.0.1:8000"


@pytest.fixture(autouse=True)
def _product(tmp_path: Path, settings: Settings) -> None:
    """Give the product two documents, a folder for its data, and no model."""
    for language in ("zh", "en"):
        folder = tmp_path / "docs" / "product" / language
        folder.mkdir(parents=True)
        (folder / "intro.md").write_text(f"# Intro {language}\n\nWhat it is.\n")
    settings.BASE_DIR = settings.DATA_DIR = tmp_path
    with_model(settings, on=False)


def with_model(settings: Settings, *, on: bool) -> None:
    settings.OPENAI_BASE_URL = "http://127.0.0.1:9/v1" if on else ""
    settings.OPENAI_MODEL = "a-model" if on else ""


def routes() -> list[tuple[str, int, bool]]:
    found = Route.objects.filter(pipeline__is_default=True)
    return [(route.kind, route.position, route.enabled) for route in found]


EXAMPLE = ("service", 0, False)
KNOWLEDGE_ONLY = [EXAMPLE, ("knowledge", 10, True)]
MODEL_FIRST = [EXAMPLE, ("openai", 10, True), ("knowledge", 20, True)]


def test_the_first_start_makes_everything(settings: Settings) -> None:
    done = bootstrap()
    pipeline = Pipeline.objects.get()
    assert str(pipeline.uuid) == str(done.pipeline) == settings.DEFAULT_PIPELINE
    assert pipeline.is_default
    assert routes() == KNOWLEDGE_ONLY
    assert set(Document.objects.values_list("space", "title")) == {
        ("product-zh", "Intro zh"), ("product-en", "Intro en"),
    }  # fmt: skip
    assert {space: counts.added for space, counts in done.documents.items()} == {"product-zh": 1, "product-en": 1}
    user = User.objects.get(is_superuser=True)
    assert user.username == "admin"
    assert done.admin_password is not None
    assert len(done.admin_password) >= 16
    assert check_password(done.admin_password, user.password)


def test_a_second_start_changes_nothing_and_asks_little(django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    bootstrap()
    before = Pipeline.objects.values().get()
    with django_assert_max_num_queries(25):
        done = bootstrap()
    assert done.admin_password is None
    assert Pipeline.objects.values().get() == before
    assert routes() == KNOWLEDGE_ONLY
    assert Document.objects.count() == 2


def test_the_model_route_follows_the_environment(settings: Settings) -> None:
    with_model(settings, on=True)
    bootstrap()
    assert routes() == MODEL_FIRST
    with_model(settings, on=False)
    bootstrap()
    assert routes() == KNOWLEDGE_ONLY
    with_model(settings, on=True)
    bootstrap()
    assert routes() == MODEL_FIRST


def test_the_example_of_a_service_is_made_once_and_then_the_operator_s(settings: Settings) -> None:
    bootstrap()
    example = Route.objects.get(kind="service")
    assert (example.match, example.pattern, example.service) == ("contains", "天气", "/service/zhycit/weather_1")
    Route.objects.filter(pk=example.pk).update(enabled=True, pattern="天气,weather")
    with_model(settings, on=True)
    bootstrap()
    assert routes() == [("service", 0, True), ("openai", 10, True), ("knowledge", 20, True)]
    example.delete()
    with_model(settings, on=False)
    bootstrap()
    assert routes() == [("knowledge", 10, True)]


def test_routes_that_an_earlier_release_made_follow_the_environment_too(settings: Settings) -> None:
    bootstrap()
    Route.objects.filter(kind="service").delete()
    Route.objects.update(position=0)
    before = list(Route.objects.values())
    bootstrap()
    assert list(Route.objects.values()) == before
    with_model(settings, on=True)
    bootstrap()
    assert routes() == [("openai", 10, True), ("knowledge", 20, True)]


def _delete_the_model() -> None:
    Route.objects.filter(kind="openai").delete()


def _disable_the_model() -> None:
    Route.objects.filter(kind="openai").update(enabled=False)


def _write_a_prompt() -> None:
    Route.objects.filter(kind="openai").update(system_prompt="Speak like a pirate.")


def _delete_all() -> None:
    Route.objects.all().delete()


@pytest.mark.parametrize("edit", [_delete_the_model, _disable_the_model, _write_a_prompt, _delete_all])
def test_what_the_operator_did_to_routes_stays(edit: object, settings: Settings) -> None:
    with_model(settings, on=True)
    bootstrap()
    assert callable(edit)
    edit()
    before = list(Route.objects.values())
    for on in (True, False, True):
        with_model(settings, on=on)
        bootstrap()
        assert list(Route.objects.values()) == before


def test_what_the_operator_did_to_the_pipeline_stays() -> None:
    bootstrap()
    Pipeline.objects.update(name="Ours", description="", failure_text="Call us.")
    bootstrap()
    pipeline = Pipeline.objects.get()
    assert (pipeline.name, pipeline.description, pipeline.failure_text) == ("Ours", "", "Call us.")


def test_another_default_pipeline_stays_the_default() -> None:
    Pipeline.objects.create(name="Ours", is_default=True)
    done = bootstrap()
    assert not Pipeline.objects.get(uuid=done.pipeline).is_default


def test_demo_documents_follow_the_release_until_the_operator_empties_their_space(tmp_path: Path) -> None:
    bootstrap()
    (tmp_path / "docs/product/en/intro.md").write_text("# Intro en\n\nWhat it is now.\n")
    assert bootstrap().documents["product-en"].changed == 1
    Document.objects.filter(space="product-en").delete()
    assert set(bootstrap().documents) == {"product-zh"}
    assert not Document.objects.filter(space="product-en").exists()


@pytest.mark.parametrize("name", ["root", "admin"])
def test_no_second_superuser_is_made(name: str) -> None:
    User.objects.create_user(name, is_superuser=name == "root")
    assert bootstrap().admin_password is None
    assert User.objects.count() == 1


def test_a_start_that_fails_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(setup, "load_folder", fail)
    with pytest.raises(OSError, match="disk full"):
        bootstrap()
    assert not Pipeline.objects.exists()
    assert not User.objects.exists()


def test_the_password_is_told_on_a_terminal_only(tmp_path: Path) -> None:
    done = Bootstrapped(UUID(int=1), "first-password", {})
    assert "first-password" in first_steps(done, base_url=ADDRESS, reveal=True)
    kept = tmp_path / "admin_password"
    assert not kept.exists()
    kept.write_text("left by an earlier start")
    kept.chmod(0o644)
    told = first_steps(done, base_url=ADDRESS, reveal=False)
    assert "first-password" not in told
    assert str(kept) in told
    assert kept.read_text() == "first-password\n"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("host", "public", "told"),
    [
        ("127.0.0.1", "", "http://127.0.0.1:8765"),
        ("0.0.0.0", "", "http://127.0.0.1:8765"),
        ("::", "", "http://127.0.0.1:8765"),
        ("::1", "", "http://[::1]:8765"),
        ("0.0.0.0", "https://chat.example.com", "https://chat.example.com"),
    ],
)
def test_what_is_printed_is_an_address_to_type(settings: Settings, host: str, public: str, told: str) -> None:
    settings.HOST, settings.PORT, settings.PUBLIC_URL = host, 8765, public
    output = StringIO()
    call_command("bootstrap", stdout=output)
    assert f"Chat gateway on {told}\n" in output.getvalue()
    assert f"{told.replace('http', 'ws', 1)}/api/v1/pipelines/" in output.getvalue()


def test_first_steps_say_where_things_are() -> None:
    told = first_steps(Bootstrapped(UUID(int=1), None), base_url="https://chat.example.com", reveal=True)
    assert f"wss://chat.example.com/api/v1/pipelines/{UUID(int=1)}/ws/connect" in told
    assert "https://chat.example.com/admin/" in told
    assert "password" not in told


@pytest.mark.parametrize(("mode", "query"), [("open", ""), ("token", "?token=TOKEN")])
def test_the_line_to_try_has_a_place_for_the_token(settings: Settings, mode: str, query: str) -> None:
    settings.ACCESS_MODE = mode
    told = first_steps(Bootstrapped(UUID(int=1), None), base_url=ADDRESS, reveal=True)
    assert f"-m websockets 'ws://127.0.0.1:8000/api/v1/pipelines/{UUID(int=1)}/ws/connect{query}'\n" in told


def test_the_bootstrap_command_keeps_the_password_off_a_log(tmp_path: Path) -> None:
    output = StringIO()
    call_command("bootstrap", stdout=output)
    password = (tmp_path / "admin_password").read_text().strip()
    assert User.objects.get().check_password(password)
    assert password not in output.getvalue()
    assert "product-zh" in output.getvalue()


def test_the_bootstrap_command_prints_the_password_when_asked(tmp_path: Path) -> None:
    output = StringIO()
    call_command("bootstrap", "--print-password", stdout=output)
    found = re.search(r"password (\S+)", output.getvalue())
    assert found
    assert User.objects.get().check_password(found[1])
    assert not (tmp_path / "admin_password").exists()
