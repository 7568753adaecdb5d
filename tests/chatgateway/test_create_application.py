"""The command that makes an application: what it prints, what it refuses, what it warns of."""

import re
from io import StringIO
from uuid import UUID

import pytest
from django.contrib.auth.hashers import check_password
from django.core.management import CommandError, call_command
from pytest_django import Settings

from connections.models import AccessToken, Application
from conversations.models import Pipeline

pytestmark = pytest.mark.django_db


def create_application(*arguments: str) -> dict[str, str]:
    output = StringIO()
    call_command("create_application", *arguments, stdout=output)
    return dict(line.split(": ", 1) for line in output.getvalue().splitlines())


def test_an_application_is_printed_with_its_secret() -> None:
    printed = create_application("shop")
    application = Application.objects.get()
    assert printed.keys() == {"appid", "secret"}
    assert printed["appid"] == application.appid
    assert check_password(printed["secret"], application.secret_hash)
    assert not AccessToken.objects.exists()


def test_a_token_comes_on_request() -> None:
    pipeline = Pipeline.objects.create(name="Support")
    printed = create_application(
        "shop", "--token", "--scopes", "broadcast, read", "--pipeline", str(pipeline.uuid),
        "--origin", "https://a.test", "--origin", "https://b.test:443",
    )  # fmt: skip
    application = Application.objects.get()
    assert application.pipeline == pipeline.uuid
    assert application.origins == ["https://a.test", "https://b.test"]
    assert AccessToken.objects.get().scopes == ["broadcast", "read"]
    assert len(printed["token"]) == 43


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["shop", "--scopes", "fly"], "--scopes must be of"),
        (["shop", "--scopes", ","], "at least one scope"),
        (["shop", "--pipeline", "x"], "must be a UUID"),
        (["shop", "--pipeline", str(UUID(int=5))], "There is no pipeline"),
        (["shop", "--scopes", "read"], "give --token too"),
        (["shop", "--origin", "shop.test"], "--origin shop.test is not an origin"),
        (["shop", "--callback-url", "ftp://x"], "--callback-url ftp://x: Enter a valid URL."),
        (["shop", "--prefix", "/shop/", "--prefix", ""], "--prefix must not be empty"),
        (["shop", "--prefix", " "], "--prefix must not be empty"),
        (["shop", "--prefix", "AI_CHATBOT"], "--prefix AI_CHATBOT is the gateway's own name"),
        (["shop", "--prefix", "server"], "--prefix server is the gateway's own name"),
        ([" "], "NAME must have"),
    ],
)
def test_a_wrong_argument_is_one_sentence_and_makes_nothing(arguments: list[str], sentence: str) -> None:
    with pytest.raises(CommandError, match=re.escape(sentence)):
        create_application(*arguments)
    assert not Application.objects.exists()


def warnings(*arguments: str) -> str:
    errors = StringIO()
    call_command("create_application", *arguments, stdout=StringIO(), stderr=errors)
    return errors.getvalue()


def test_a_second_application_of_a_name_is_made_and_said() -> None:
    assert warnings("shop") == ""
    assert warnings("shop") == "Warning: 1 more of the name 'shop'; only the appid tells them apart.\n"
    assert Application.objects.count() == 2


@pytest.mark.parametrize("host", ["127.0.0.1:9", "[::1]", "localhost", "10.1.2.3", "1.1.1.1", "shop.example"])
@pytest.mark.parametrize("allowed", [False, True])
def test_a_callback_that_can_never_arrive_is_said_at_once(settings: Settings, host: str, allowed: bool) -> None:
    settings.ALLOW_PRIVATE_UPSTREAMS = allowed
    said = "ALLOW_PRIVATE_UPSTREAMS is off" in warnings("shop", "--callback-url", f"http://{host}/hook")
    assert said == (not allowed and host not in {"1.1.1.1", "shop.example"})
