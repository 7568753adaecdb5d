"""Which questions a route is for. Pure.

Question and pattern are compared without case and in Unicode's NFKC form: `Ａ`, `A` and `a` are one letter, and `？`
is `?`.
"""

import re
import unicodedata

import regex

from conversations.responders.base import RouteConfig

REGEX_SECONDS = 0.05
REGEX_LOOKS_AT = 1000  # characters of a question that a regular expression sees
REPETITIONS = 10_000  # that counts within counts of a regular expression may come to: it is compiled to so much
LOOKS_AT = 20_000  # characters of a question that words are looked for in
# A count, and whether it is of a group or of something counted already: then it multiplies what is in it.
_COUNT = re.compile(r"([)}])?\{\s*(\d*)\s*(?:,\s*(\d*)\s*)?(?=\})")
_SEPARATORS = re.compile("[,、]")
# In a regular expression: an escaped ASCII character, or a run of others with the backslash that may precede it.
_NOT_ASCII = re.compile(r"\\[\x00-\x7f]|\\?[^\x00-\x7f]+")


class PatternError(Exception):
    """A route's regular expression cannot be used, or took too long; `str()` says which, and carries no question."""


def matches(route: RouteConfig, question: str) -> bool:
    """Tell whether `route` is for `question`; raise PatternError where its pattern cannot tell."""
    match route.match:
        case "contains":
            folded = _fold(question[:LOOKS_AT])
            return any(word in folded for word in words(route.pattern))
        case "prefix":
            beginning = _fold(route.pattern).strip()
            return bool(beginning) and _fold(question[:LOOKS_AT]).lstrip().startswith(beginning)
        case "regex":
            return _search(route.pattern, question[:REGEX_LOOKS_AT])
        case _:
            return True


def words(pattern: str) -> list[str]:
    """Return the words of a comma-separated list, as they are compared."""
    return [word for part in _SEPARATORS.split(_fold(pattern)) if (word := part.strip())]


def problem_with(pattern: str) -> str:
    """Return what is wrong with a regular expression, or nothing."""
    try:
        _compile(pattern)
    except PatternError as error:
        return str(error)
    return ""


def _search(pattern: str, question: str) -> bool:
    compiled = _compile(pattern)
    try:
        # Concurrent: other threads go on meanwhile.
        found = compiled.search(unicodedata.normalize("NFKC", question), timeout=REGEX_SECONDS, concurrent=True)
    except TimeoutError as error:
        raise PatternError(f"took longer than {REGEX_SECONDS} s") from error
    return found is not None


def _compile(pattern: str) -> "regex.Pattern[str]":
    if _repetitions(pattern) > REPETITIONS:
        raise PatternError(f"repeats too much: counts within counts may come to {REPETITIONS} at most")
    try:
        return regex.compile(_NOT_ASCII.sub(_normalise_run, pattern), regex.IGNORECASE)
    except (regex.error, OverflowError, RecursionError) as error:
        raise PatternError(f"is no regular expression: {error}") from error


def _repetitions(pattern: str) -> int:
    """Return how often a pattern repeats something at most; as if all its groups lay within one another."""
    most, groups = 1, 1
    for is_group, *numbers in _COUNT.findall(pattern):
        count = max(1, *(int(number or 1) for number in numbers))
        if is_group:
            groups *= count
        else:
            most = max(most, count)
    return most * groups


def _normalise_run(run: "re.Match[str]") -> str:
    """Return a run in the question's form. Taken literally: a `？` that became `?` must not turn into an operator."""
    text = run[0]
    if text.isascii():
        return text
    return regex.escape(unicodedata.normalize("NFKC", text.removeprefix("\\")))


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()
