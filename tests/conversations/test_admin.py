"""Staff's pages for pipelines and for what was said."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from conversations import transcript
from conversations.models import ChatSession, Document, Feedback, Message, Pipeline, Route, Turn, Upload
from conversations.transcript import read_transcript

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
MOST_QUERIES = 15


@pytest.fixture
def pipeline() -> Pipeline:
    pipeline = Pipeline.objects.create(name="Shop", is_default=True)
    Route.objects.create(pipeline=pipeline, kind=Route.Kind.KNOWLEDGE)
    return pipeline


class Talk:
    """Writes a session as the store would."""

    def __init__(self, pipeline: Pipeline, **fields: Any) -> None:
        row = {"session_type": "person", "wire": "langbot", "created_at": NOON, "last_message_at": NOON, **fields}
        self.session = ChatSession.objects.create(uuid=uuid4(), pipeline=pipeline, **row)
        self.now = NOON
        self.epoch = 0

    def say(self, role: str, text: str, **fields: Any) -> Message:
        self.now += timedelta(seconds=1)
        self.session.last_seq += 1
        self.session.save()
        row = {"epoch": self.epoch, "created_at": self.now, **fields}
        return Message.objects.create(session=self.session, seq=self.session.last_seq, role=role, text=text, **row)

    def answer(self, question: str, text: str, outcome: str, **fields: Any) -> Message:
        asked = self.say("user", question)
        said = self.say("assistant", text, **fields)
        self._turn(said.pk, asked, state="ended", outcome=outcome, responder="knowledge")
        return said

    def ask(self, question: str, partial: str, state: str) -> None:
        asked = self.say("user", question)
        self._turn(asked.pk + 1_000_000, asked, state=state, partial=partial)

    def reset(self) -> None:
        self.epoch += 1
        self.session.epoch = self.epoch
        self.session.save()

    def _turn(self, pk: int, question: Message, **fields: Any) -> None:
        Turn.objects.create(
            id=pk, session=self.session, question=question, epoch=self.epoch, created_at=self.now, **fields
        )


def page(client: Client, name: str, *args: object, **query: Any) -> str:
    response = client.get(reverse(f"admin:conversations_{name}", args=args), query)
    assert response.status_code == 200
    return response.content.decode()


def test_lists_take_few_queries_however_long(
    admin_client: Client, pipeline: Pipeline, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    other = Pipeline.objects.create(name="Other")
    talk = Talk(other)
    for number in range(30):
        talk = Talk(pipeline if number % 2 else other)
        talk.answer(f"question {number}", f"answer {number}", "answered")
        Document.objects.create(pipeline=other, title=f"doc {number}", text="text", digest=str(number))
    for name in ("chatsession_changelist", "document_changelist", "pipeline_changelist"):
        with django_assert_max_num_queries(MOST_QUERIES):
            page(admin_client, name)
    with django_assert_max_num_queries(MOST_QUERIES):
        page(admin_client, "chatsession_change", talk.session.pk)


def test_the_session_list_shows_the_last_words(admin_client: Client, pipeline: Pipeline) -> None:
    talk = Talk(pipeline, name="大厅", session_type="group", wire="wechat")
    talk.answer("你好", "您好<b>！</b>", "answered")
    html = page(admin_client, "chatsession_changelist")
    assert "大厅" in html
    assert "您好&lt;b&gt;！&lt;/b&gt;" in html
    assert "WeChat" in html


def test_sessions_are_found_by_uuid_by_name_and_by_filter(admin_client: Client, pipeline: Pipeline) -> None:
    wanted = Talk(pipeline, name="lobby", language="en").session
    other = Talk(pipeline, name="kitchen", wire="wechat").session
    for query in ({"q": str(wanted.uuid)}, {"q": "lob"}, {"language": "en"}, {"wire": "langbot"}):
        html = page(admin_client, "chatsession_changelist", **query)
        assert "lobby" in html
        assert "kitchen" not in html
    html = page(admin_client, "chatsession_changelist", q=str(other.uuid).upper())
    assert "kitchen" in html


def test_a_transcript_reads_like_the_conversation(admin_client: Client, pipeline: Pipeline) -> None:
    talk = Talk(pipeline)
    citation = {"doc_id": "d1", "space_id": "product-zh", "title": "产品简介", "url": "https://x.test/a", "score": 2.5}
    talk.answer("[Image] 这是什么？", "这是产品。", "answered", citations=[citation])
    talk.answer("再来", "一半的", "cut")
    talk.reset()
    talk.answer("weather?", "I don't know.", "unknown")
    talk.say("operator", "人工在此", sender_name="王芳")
    talk.ask("last one", "so far", "running")
    html = page(admin_client, "chatsession_change", talk.session.pk)
    shown = [
        "[Image] 这是什么？", "这是产品。", "产品简介", "https://x.test/a", "再来", "一半的",
        "Cut off at the time limit",
        "Conversation reset", "weather?", "I don't know.", "Found no answer", "王芳", "人工在此",
        "last one", "so far", "Being answered",
    ]  # fmt: skip
    places = [html.index(text) for text in shown]
    assert places == sorted(places)


def test_what_visitors_think_of_answers_is_shown_counted_and_found(admin_client: Client, pipeline: Pipeline) -> None:
    liked, disliked, neither = (
        Talk(pipeline, name="liked"),
        Talk(pipeline, name="disliked"),
        Talk(pipeline, name="neither"),
    )
    for talk, values in ((liked, ("up", "up")), (disliked, ("down", "up")), (neither, ())):
        for value in values:
            said = talk.answer("Is it?", f"It is {value}.", "answered")
            Feedback.objects.create(
                message=said, session=talk.session, value=value, created_at=NOON, updated_at=NOON
            )  # fmt: skip
        talk.answer("And then?", "Nothing.", "answered")
    html = page(admin_client, "chatsession_changelist")
    assert re.findall(r'class="opinion" title="([^"]+)"', html) == ["1 helpful", "1 not helpful", "2 helpful"]
    for value, shown in (("down", {"disliked"}), ("up", {"liked", "disliked"}), ("any", {"liked", "disliked"})):
        html = page(admin_client, "chatsession_changelist", feedback=value)
        assert {name for name in ("liked", "disliked", "neither") if f">{name}<" in html} == shown
    html = page(admin_client, "chatsession_change", disliked.session.pk)
    assert html.index("It is down.") < html.index("did not find it helpful") < html.index("It is up.")
    assert html.count("found it helpful") == 1


def test_a_transcript_is_escaped(admin_client: Client, pipeline: Pipeline) -> None:
    talk = Talk(pipeline, name="<script>1</script>")
    citation = {"doc_id": "", "space_id": "", "title": "<script>2</script>", "url": "javascript:3", "score": 1.0}
    talk.answer("<script>4</script>", "<img src=x onerror=5>", "answered", citations=[citation])
    talk.say("operator", "hi", sender_name="<script>6</script>")
    html = page(admin_client, "chatsession_change", talk.session.pk)
    for number in "1246":
        assert f"<script>{number}" not in html
        assert f"&lt;script&gt;{number}" in html
    assert "<img src=x" not in html
    assert 'href="javascript' not in html


def test_a_session_opens_by_its_uuid_and_changes_nowhere(admin_client: Client, pipeline: Pipeline) -> None:
    talk = Talk(pipeline)
    said = talk.say("user", "hello")
    url = reverse("admin:conversations_chatsession_change", args=[talk.session.uuid])
    assert "hello" in admin_client.get(url).content.decode()
    assert admin_client.post(url, {"name": "changed"}).status_code == 403
    assert admin_client.get(reverse("admin:conversations_chatsession_add")).status_code == 403
    delete = reverse("admin:conversations_chatsession_delete", args=[talk.session.pk])
    assert admin_client.post(delete, {"post": "yes"}).status_code == 403
    assert Message.objects.filter(pk=said.pk).exists()


def test_a_transcript_shows_the_files_that_were_sent(admin_client: Client, pipeline: Pipeline) -> None:
    talk = Talk(pipeline)
    message = talk.say("user", "[Image][File]")
    about = {"pipeline": pipeline, "message": message, "sender": "", "created_at": NOON}
    sizes = {"size": 2048, "width": 600, "height": 300}
    Upload.objects.create(key="i" * 43, kind="image", name="<b>猫.jpg", media_type="image/jpeg", **sizes, **about)
    Upload.objects.create(key="d" * 43, kind="document", name="a.pdf", media_type="application/pdf", size=5, **about)
    page = admin_client.get(reverse("admin:conversations_chatsession_change", args=[talk.session.pk])).content.decode()
    assert f'<a href="/api/v1/files/{"i" * 43}" target="_blank" rel="noopener noreferrer">' in page
    assert f'<img src="/api/v1/files/{"i" * 43}/thumbnail"' in page
    assert "&lt;b&gt;猫.jpg" in page
    assert "2.0\xa0KB" in page
    assert f'href="/api/v1/files/{"d" * 43}"' in page
    assert f"{'d' * 43}/thumbnail" not in page


def test_answers_are_shown_as_they_were_meant_and_people_s_words_as_they_were_written(
    admin_client: Client, pipeline: Pipeline
) -> None:
    talk = Talk(pipeline)
    for role in ("user", "assistant", "operator"):
        talk.say(role, "**Bold** <b>of</b> [me](https://a.test/)")
    shown = page(admin_client, "chatsession_change", talk.session.pk)
    link = '<a href="https://a.test/" target="_blank" rel="noopener noreferrer nofollow">me</a>'
    assert shown.count(f"<p><strong>Bold</strong> &lt;b&gt;of&lt;/b&gt; {link}</p>") == 1
    assert shown.count("**Bold** &lt;b&gt;of&lt;/b&gt; [me](https://a.test/)") == 2


def test_only_so_much_of_a_transcript_is_read_as_markdown(pipeline: Pipeline) -> None:
    talk = Talk(pipeline)
    for _ in range(transcript.RENDERED // 10_000 + 2):
        talk.say("assistant", f"**{'x' * 9_996}**")
    lines = read_transcript(talk.session).lines
    assert [bool(line.html) for line in lines] == [False] * 2 + [True] * (len(lines) - 2)
    assert all(line.text for line in lines)


def test_a_long_transcript_has_pages(pipeline: Pipeline) -> None:
    talk = Talk(pipeline)
    for number in range(10):
        talk.say("user", f"message {number + 1}")
    newest = read_transcript(talk.session, page=4)
    assert [line.seq for line in newest.lines] == [7, 8, 9, 10]
    assert (newest.older, newest.is_newest) == (7, True)
    middle = read_transcript(talk.session, newest.older, page=4)
    assert [line.seq for line in middle.lines] == [3, 4, 5, 6]
    oldest = read_transcript(talk.session, middle.older, page=4)
    assert [line.seq for line in oldest.lines] == [1, 2]
    assert (oldest.older, oldest.is_newest) == (None, False)


@pytest.mark.parametrize("before", ["x", "-1", "9" * 40, "1"])
def test_an_odd_page_is_still_a_page(before: str, admin_client: Client, pipeline: Pipeline) -> None:
    talk = Talk(pipeline)
    talk.say("user", "hello")
    page(admin_client, "chatsession_change", talk.session.pk, before=before)


def test_an_answer_that_ended_after_the_reset_makes_no_second_separator(pipeline: Pipeline) -> None:
    talk = Talk(pipeline)
    talk.say("user", "slow question")
    talk.reset()
    talk.say("user", "new question")
    talk.say("assistant", "slow answer", epoch=0)
    talk.say("assistant", "new answer")
    shown = read_transcript(talk.session)
    assert [line.after_reset for line in shown.lines] == [False, True, False, False]
    assert not shown.reset_at_end
    talk.reset()
    assert read_transcript(talk.session).reset_at_end


def test_days_are_separated_and_giants_shortened(pipeline: Pipeline) -> None:
    talk = Talk(pipeline)
    talk.say("user", "x" * (transcript.SHOWN_CHARACTERS + 5))
    talk.now += timedelta(days=1)
    talk.say("user", "next day")
    first, second = read_transcript(talk.session).lines
    assert len(first.text) == transcript.SHOWN_CHARACTERS
    assert (first.shortened, second.shortened) == (True, False)
    assert (first.new_day, second.new_day) == (True, True)


def test_a_pipeline_is_edited_with_its_routes(admin_client: Client, pipeline: Pipeline) -> None:
    route = pipeline.routes.get()
    Document.objects.create(pipeline=pipeline, title="doc", text="text", digest="1")
    html = page(admin_client, "pipeline_change", pipeline.pk)
    assert "1 document<" in html
    assert str(pipeline.uuid) in html
    response = admin_client.post(
        reverse("admin:conversations_pipeline_change", args=[pipeline.uuid]),
        {
            "name": "Shop 2", "is_default": "on", "group_reply": "always", "group_prefix": "ai",
            "routes-TOTAL_FORMS": "2", "routes-INITIAL_FORMS": "1",
            "routes-0-id": route.pk, "routes-0-pipeline": pipeline.pk, "routes-0-kind": "knowledge",
            "routes-0-position": "1", "routes-0-enabled": "on", "routes-0-match": "always", "routes-0-timeout": "20",
            "routes-1-pipeline": pipeline.pk, "routes-1-kind": "openai", "routes-1-position": "0",
            "routes-1-enabled": "on", "routes-1-recall": "on", "routes-1-match": "always", "routes-1-timeout": "20",
        },
    )  # fmt: skip
    assert response.status_code == 302
    pipeline.refresh_from_db()
    assert (pipeline.name, pipeline.group_reply) == ("Shop 2", "always")
    assert [(row.kind, row.position) for row in pipeline.routes.all()] == [("openai", 0), ("knowledge", 1)]


@pytest.mark.parametrize(("enabled", "warned"), [("", True), ("on", False)])
def test_a_pipeline_that_answers_nothing_is_saved_with_a_warning(
    admin_client: Client, pipeline: Pipeline, enabled: str, warned: bool
) -> None:
    pipeline.routes.all().delete()
    assert save_route(admin_client, pipeline, enabled=enabled) == ""
    assert ("Shop answers nothing" in page(admin_client, "pipeline_change", pipeline.pk)) is warned


def test_there_is_always_one_default_pipeline(admin_client: Client, pipeline: Pipeline) -> None:
    other = Pipeline.objects.create(name="Other")

    def save(which: Pipeline, **fields: str) -> str:
        routes = {"routes-TOTAL_FORMS": "0", "routes-INITIAL_FORMS": "0"}
        response = admin_client.post(
            reverse("admin:conversations_pipeline_change", args=[which.pk]),
            {"name": which.name, "group_reply": "always", **routes, **fields},
        )
        return "" if response.status_code == 302 else response.content.decode()

    assert "Make another pipeline the default instead" in save(pipeline)
    assert save(other, is_default="on") == ""
    assert [row.name for row in Pipeline.objects.filter(is_default=True)] == ["Other"]
    assert save(pipeline) == ""


def save_route(client: Client, pipeline: Pipeline, **fields: Any) -> str:
    """Save the pipeline with one more route, to a service; return the page that says what is wrong, or nothing."""
    route = {
        "kind": "service", "enabled": "on", "position": "0", "match": "contains", "pattern": "天气",
        "service": "/service/zhycit/weather_1", "timeout": "20", **fields,
    }  # fmt: skip
    response = client.post(
        reverse("admin:conversations_pipeline_change", args=[pipeline.pk]),
        {
            "name": "Shop", "group_reply": "always", "group_prefix": "ai", "is_default": "on",
            "routes-TOTAL_FORMS": "1", "routes-INITIAL_FORMS": "0", "routes-0-pipeline": pipeline.pk,
            **{f"routes-0-{name}": value for name, value in route.items()},
        },
    )  # fmt: skip
    return "" if response.status_code == 302 else response.content.decode()


def test_a_route_to_a_service_is_saved_and_listed_with_its_words(admin_client: Client, pipeline: Pipeline) -> None:
    assert save_route(admin_client, pipeline) == ""
    route = pipeline.routes.get(kind="service")
    assert (route.match, route.pattern, route.service, route.timeout) == (
        "contains", "天气", "/service/zhycit/weather_1", 20,
    )  # fmt: skip
    assert "Documents → Service on the hub (天气)" in page(admin_client, "pipeline_changelist")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"match": "regex", "pattern": "(天气"}, "This is no regular expression: missing ) at position 3."),
        ({"match": "regex", "pattern": ""}, "Say which questions this route is for."),
        ({"match": "prefix", "pattern": " "}, "Say which questions this route is for."),
        ({"pattern": "，,"}, "Name at least one word."),
        ({"service": " "}, "Say which client of the hub is asked."),
        ({"timeout": "0"}, "A service needs a second at least."),
    ],
)
def test_a_route_that_could_never_answer_is_refused_in_a_sentence(
    admin_client: Client, pipeline: Pipeline, fields: dict[str, str], sentence: str
) -> None:
    assert sentence in save_route(admin_client, pipeline, **fields)
    assert not pipeline.routes.filter(kind="service").exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"match": "regex", "pattern": "^(北京|上海).*天气？"},
        {"match": "always", "pattern": ""},
        {"kind": "knowledge", "service": ""},
    ],
)
def test_a_route_needs_what_its_kind_needs_only(
    admin_client: Client, pipeline: Pipeline, fields: dict[str, str]
) -> None:
    assert save_route(admin_client, pipeline, **fields) == ""


def test_a_pipeline_that_people_talked_to_stays(admin_client: Client, pipeline: Pipeline) -> None:
    talked_to = Pipeline.objects.create(name="talked to")
    Talk(talked_to)
    unused = Pipeline.objects.create(name="unused")
    for row in (pipeline, talked_to, unused):
        admin_client.post(reverse("admin:conversations_pipeline_delete", args=[row.pk]), {"post": "yes"})
    assert set(Pipeline.objects.all()) == {pipeline, talked_to}


def document_fields(pipeline: Pipeline, **fields: str) -> dict[str, Any]:
    return {"pipeline": pipeline.pk, "space": "default", "title": "Returns", "url": "", "text": "# Returns", **fields}


def test_a_document_is_written_through_the_service(admin_client: Client, pipeline: Pipeline) -> None:
    add = reverse("admin:conversations_document_add")
    fields = document_fields(pipeline, text="  # Returns\r\n\r\nWithin 30 days.\r\n")
    assert admin_client.post(add, fields).status_code == 302
    document = Document.objects.get()
    assert document.text == "  # Returns\n\nWithin 30 days.\n"
    pipeline.refresh_from_db()
    assert document.revision == pipeline.knowledge_revision == 1
    change = reverse("admin:conversations_document_change", args=[document.uuid])
    assert admin_client.post(change, document_fields(pipeline, title="Refunds")).status_code == 302
    document.refresh_from_db()
    pipeline.refresh_from_db()
    assert (document.title, document.text) == ("Refunds", "# Returns")
    assert document.revision == pipeline.knowledge_revision == 2


@pytest.mark.parametrize("text", ["", " \n ", "a\0b"])
def test_a_document_without_a_readable_text_is_refused(text: str, admin_client: Client, pipeline: Pipeline) -> None:
    response = admin_client.post(reverse("admin:conversations_document_add"), document_fields(pipeline, text=text))
    assert response.status_code == 200
    assert not Document.objects.exists()


def test_documents_are_deleted_through_the_service(admin_client: Client, pipeline: Pipeline) -> None:
    first, second, third = (
        Document.objects.create(pipeline=pipeline, title=f"doc {n}", text="text", digest=str(n)) for n in range(3)
    )
    delete = reverse("admin:conversations_document_delete", args=[first.pk])
    assert admin_client.post(delete, {"post": "yes"}).status_code == 302
    pipeline.refresh_from_db()
    assert pipeline.knowledge_revision == 1
    chosen = {"action": "delete_selected", "_selected_action": [second.pk, third.pk], "post": "yes"}
    admin_client.post(reverse("admin:conversations_document_changelist"), chosen)
    assert not Document.objects.exists()
    pipeline.refresh_from_db()
    assert pipeline.knowledge_revision == 2


def test_the_document_list_reads_no_text(
    admin_client: Client, pipeline: Pipeline, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    Document.objects.create(pipeline=pipeline, title="doc", text="a long text", digest="1", path="guide/a.md")
    with django_assert_max_num_queries(MOST_QUERIES) as captured:
        assert "guide/a.md" in page(admin_client, "document_changelist")
    assert not any('"conversations_document"."text"' in query["sql"] for query in captured.captured_queries)
