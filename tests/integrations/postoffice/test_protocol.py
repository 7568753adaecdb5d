"""Letters as they come in and go out, without a server."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from msgspec import Raw

from integrations.postoffice.protocol import (
    ID_LENGTH,
    RECIPIENTS,
    Answer,
    Delivery,
    Receipt,
    is_bot,
    is_reserved,
    parse,
    quoted,
    serialise,
)
from integrations.strict import ProtocolError
from tests.support.frames import anything, client_frames, nearly, texts

EXAMPLES = texts("postoffice")
SENT = [name for name in EXAMPLES if name.startswith("client_")]
LETTERS = [{"id": 1, **letter} for letter in client_frames("postoffice")]


@pytest.mark.parametrize("name", SENT)
def test_a_letter_is_delivered_as_it_was_written_from_its_sender(name: str) -> None:
    sent = json.loads(EXAMPLES[name])
    letter = parse(EXAMPLES[name], "somebody")
    assert json.loads(letter.text) == {**sent, "from": "somebody"}
    assert list(json.loads(letter.text)) == list(sent)


def test_numbers_spaces_and_unknown_fields_keep_their_text() -> None:
    sent = '{"to":"b","n":12345678901234567890123,"f":1.10,"x":{"a" : [ 1e2 ]},"from":"evil","content":"\\u4f60"}'
    expected = '{"to":"b","n":12345678901234567890123,"f":1.10,"x":{"a" : [ 1e2 ]},"from":"我","content":"\\u4f60"}'
    assert parse(sent, "我").text == expected
    assert parse(sent.encode(), "我").text == expected


def test_a_letter_without_from_gets_one() -> None:
    assert parse('{"to":"b"}', "a").text == '{"to":"b","from":"a"}'


@pytest.mark.parametrize(
    ("to", "cc", "recipients"),
    [
        ("b", None, ("b",)),
        (["b", "c", "b"], "b", ("b", "c")),
        ("", ["", "d"], ("d",)),
        (None, None, ()),
        ([], [], ()),
        ("a,b", "c", ("a,b", "c")),
    ],
)
def test_each_recipient_once_and_in_order(to: Any, cc: Any, recipients: tuple[str, ...]) -> None:
    letter = parse(json.dumps({"to": to, "cc": cc}), "a")
    assert (letter.recipients, letter.refused) == (recipients, 0)


def test_what_is_no_recipient_is_counted() -> None:
    names = [str(number) for number in range(RECIPIENTS + 2)]
    assert parse(json.dumps({"to": names, "cc": [5, {}, "x" * (ID_LENGTH + 1)]}), "a").refused == 5


@pytest.mark.parametrize(
    "data",
    ["", "AI生成的回复", "[]", "1", '"x"', '{"a":1,"a":2}', '{"a":NaN}', '{"a":"\\u0000"}', '{"a":"\\ud800"}', b"\xff"],
)
def test_what_is_no_strict_object_is_refused(data: str | bytes) -> None:
    with pytest.raises(ProtocolError):
        parse(data, "a")


@pytest.mark.parametrize(
    ("content", "question"), [("天气", "天气"), ({"a": 1.50}, '{"a": 1.5}'), (None, "null"), (7, "7")]
)
def test_a_question_is_the_content_or_its_json(content: Any, question: str) -> None:
    assert parse(json.dumps({"content": content}), "a").question == question


@pytest.mark.parametrize(
    ("fields", "reference"),
    [
        ({"inReplyTo": "q", "id": 1, "createTime": 2}, '"q"'),
        ({"inReplyTo": "", "id": 10**30}, str(10**30)),
        ({"createTime": 2}, "2"),
        ({"inReplyTo": "x" * 2000}, ""),
        ({}, ""),
    ],
)
def test_what_a_letter_is_known_by(fields: dict[str, Any], reference: str) -> None:
    assert parse(json.dumps(fields), "a").reference == reference


def test_a_receipt_and_an_answer_look_as_they_were_seen() -> None:
    content = Delivery(2, {"/service/x/1": "queued"})
    receipt = Receipt(to="用户1", subject="queued", content=content, reference=Raw(b"1795256947"), time=1795256947)
    assert serialise(receipt) == EXAMPLES["server_receipt"]
    answer = Answer(
        sender="AI_CHATBOT",
        to="用户1",
        subject="s",
        content="您好",
        reference=quoted('"q1"'),
        subject_id=quoted("12345678901234567890"),
        time=1795256947,
    )
    assert serialise(answer) == EXAMPLES["server_answer"]


def test_the_gateways_own_addresses() -> None:
    pipeline = "/pipeline/00000000-0000-4000-8000-000000000001"
    assert all(is_bot(address) for address in ("AI_CHATBOT", "server", pipeline))
    assert not any(is_bot(address) for address in ("AI_CHATBOT/7", "/pipeline/x", "Server", ""))
    assert is_reserved("AI_CHATBOT/7")
    assert not is_reserved("/service/zhycit/weather_1")


@given(anything(nearly(LETTERS)))
def test_only_protocol_errors_come_out(data: str | bytes) -> None:
    with suppress(ProtocolError):
        parse(data, "a")


@given(nearly(LETTERS))
def test_nearly_valid_letters_come_through_or_are_refused(value: dict[str, Any]) -> None:
    with suppress(ProtocolError):
        letter = parse(json.dumps(value), "a")
        assert json.loads(letter.text) == {**value, "from": "a"}
        echoed = {"reference": quoted(letter.reference), "subject_id": quoted(letter.subject_id)}
        serialise(Answer(sender="b", to="a", subject=letter.subject, content=letter.question, time=1, **echoed))
