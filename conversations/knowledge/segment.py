"""Text into terms, for Chinese and English mixed. Pure.

A text becomes units in order. A unit is a word, or an identifier such as `/wechat/ws`, `REDIS_URL` or `-9`, together
with the smaller terms inside it, so that a search for `redis` finds `REDIS_URL` and one for 知识 finds 知识库.
"""

import re
import unicodedata
from functools import lru_cache
from itertools import chain
from typing import NamedTuple

import rjieba

from conversations.knowledge.words import CHINESE_STOP_WORDS, ENGLISH_IRREGULAR, ENGLISH_STOP_WORDS
from conversations.types import Language

CACHED_WORDS = 65536  # of a language's usual words, nearly all

_HAN = "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
_LETTER = "a-z0-9_\u00c0-\u024f\u0370-\u1fff\u3040-\u30ff\uac00-\ud7af"
_HAN_CHARACTER = re.compile(f"[{_HAN}]")
_ENGLISH_WORD = re.compile("[a-z]+")
_TOKEN = re.compile(
    f"[{_HAN}]+"
    "|(?<![^\\s`'\"(])--?[a-z0-9][a-z0-9-]*"  # an option, as in `kill -9`; the hyphen of a list has a space behind it
    f"|[{_LETTER}]+(?:[./:@_+#-]+[{_LETTER}]+)*(?:\\+\\+|#)?"
)
_CONNECTOR = re.compile("[./:@_+#-]+")
_SHORTENED = re.compile(r"n't\b|'(?:s|re|ve|ll|d|m)\b")
_VOWEL = re.compile("[aeiouy]")
_DOUBLED = re.compile(r"([bdfgmnprt])\1$")


class Unit(NamedTuple):
    """A word or identifier as it is indexed, and the smaller terms in it."""

    term: str
    parts: tuple[str, ...] = ()


def normalise(text: str) -> str:
    """Return `text` with one form for full-width and half-width characters, and in lower case."""
    return unicodedata.normalize("NFKC", text).lower().replace("\u2019", "'")


def units(text: str) -> list[Unit]:
    """Return the units of `text` that carry meaning, in order; stop words and single digits are left out."""
    return [unit for word in _words(text) if (unit := _unit(word)) is not None]


def terms(text: str) -> list[str]:
    """Return the terms of the units of `text`, those inside a unit behind it."""
    return list(chain.from_iterable(map(_terms, _words(text))))


def language_of(text: str) -> Language | None:
    """Tell the language that `text` is written in, or None where it has no letters of either.

    English function words tell an English text that quotes Chinese from a Chinese one that is full of names.
    """
    lowered = normalise(text)
    han = len(_HAN_CHARACTER.findall(lowered))
    words = _ENGLISH_WORD.findall(lowered)
    if han and han >= 2 * sum(word in ENGLISH_STOP_WORDS for word in words):
        return "zh-hans"
    return "en" if words else None


def stem(word: str) -> str:
    """Return an English word in lower case without the endings that its other forms have."""
    if len(word) < 4 or not (word.isascii() and word.isalpha()):
        return word
    word = _without_plural(ENGLISH_IRREGULAR.get(word, word))
    for ending in ("ing", "ed"):
        rest = word.removesuffix(ending)
        if rest != word and len(rest) >= 3 and _VOWEL.search(rest):
            word = _DOUBLED.sub(r"\1", rest)
            break
    else:
        word = _shortened(word, "ion", 4)
    word = _shortened(word, "e", 3)
    word = _shortened(word, "at", 5)
    word = _shortened(word, "ment", 4)
    word = _shortened(word, "e", 3)
    return word[:-1] + "i" if word.endswith("y") and len(word) > 3 else word


def _shortened(word: str, ending: str, least: int) -> str:
    return word.removesuffix(ending) if len(word) >= least + len(ending) else word


def _without_plural(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "shes", "ches", "xes")):
        return word[:-2]
    if word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def _words(text: str) -> list[str]:
    """Return Chinese words, other words and identifiers, in order."""
    text = normalise(text)
    if "'" in text:
        text = _SHORTENED.sub("", text)
    found: list[str] = []
    for token in _TOKEN.findall(text):
        if not token.isascii() and _HAN_CHARACTER.match(token):
            found += rjieba.cut(token)
        else:
            found.append(token)
    return found


@lru_cache(maxsize=CACHED_WORDS)
def _terms(word: str) -> tuple[str, ...]:
    unit = _unit(word)
    return () if unit is None else (unit.term, *unit.parts)


@lru_cache(maxsize=CACHED_WORDS)
def _unit(word: str) -> Unit | None:
    if _HAN_CHARACTER.match(word):
        return _chinese_unit(word)
    if word.startswith("-"):
        return Unit(word, _stems(word.lstrip("-")))
    word = word.strip("_")
    parts = _stems(word)
    if not parts:
        return None
    return Unit(word, parts) if _CONNECTOR.search(word.rstrip("+#")) else Unit(parts[0])


def _chinese_unit(word: str) -> Unit | None:
    if word in CHINESE_STOP_WORDS:
        return None
    if len(word) < 3:
        return Unit(word)
    inner = (part for part in rjieba.cut_for_search(word) if part != word and part not in CHINESE_STOP_WORDS)
    return Unit(word, tuple(dict.fromkeys(inner)))


def _stems(word: str) -> tuple[str, ...]:
    """Return the stems of the words in an identifier."""
    inner = (stem(part) for part in _CONNECTOR.split(word) if part not in ENGLISH_STOP_WORDS)
    return tuple(dict.fromkeys(part for part in inner if part and not (part.isdigit() and len(part) == 1)))
