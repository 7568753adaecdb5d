"""The scripts of the chat find every word that they ask for, and no word waits for a script that never asks."""

import re
from typing import get_args

from chatgateway.pages.strings import chat_strings
from conversations.uploads.kinds import Reason
from tests.support.environment import ROOT

FILES = (
    *sorted((ROOT / "chatgateway" / "static" / "chatgateway" / "chat").glob("*.js")),
    ROOT / "templates" / "pages" / "panel.html",
)
# Named by what they tell of: states of the connection, states of a message, and one of two.
BY_STATE = {"connecting", "live", "reconnecting", "offline", "closed"} | {"waiting", "sending", "not_sent"}
BY_REASON = {f"refused_{reason}" for reason in get_args(Reason)}  # as the gateway says it
TAKEN = re.compile(r"const \{ ([\w, ]+) \} = this\.strings;")
ONE_OF_TWO = re.compile(r'strings\[[^\]]*\? "(\w+)" : "(\w+)"\]')


def test_scripts_and_words_fit() -> None:
    sources = [file.read_text(encoding="utf-8") for file in FILES]
    asked = {word for source in sources for word in re.findall(r"strings\.(\w+)", source)}
    taken = {words for source in sources for names in TAKEN.findall(source) for words in re.findall(r"\w+", names)}
    either = {word for source in sources for words in ONE_OF_TWO.findall(source) for word in words}
    assert len(sources) > 10
    assert asked | taken | either | BY_STATE | BY_REASON == set(chat_strings())
