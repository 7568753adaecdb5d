"""What a file is called: the sender's word for it, fit to be shown and to be saved under. Pure."""

import unicodedata
from collections.abc import Collection

LONGEST = 100  # characters
NAMELESS = "file"
# Controls, those of the writing direction among them, halves of characters, what nobody has assigned, line ends.
_UNFIT = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
_LONGEST_SUFFIX = 12


def clean(name: str) -> str:
    """Return the last part of a path without anything that hides what it is, at most LONGEST characters."""
    base = unicodedata.normalize("NFC", name[: 20 * LONGEST]).replace("\\", "/").rsplit("/", 1)[-1]
    words = "".join(" " if char.isspace() else char for char in base if unicodedata.category(char) not in _UNFIT)
    stem, dot, suffix = " ".join(words.split()).strip(". ").rpartition(".")
    if not dot or not 0 < len(suffix) <= _LONGEST_SUFFIX:
        stem, suffix = f"{stem}{dot}{suffix}", ""
    stem = (stem.strip() or NAMELESS)[: LONGEST - len(suffix) - 1].rstrip(". ")
    return f"{stem}.{suffix}" if suffix else stem


def suffix_of(name: str) -> str:
    """Return a name's suffix in small letters with its dot, or nothing."""
    dot, suffix = name.lower().rpartition(".")[1:]
    return f".{suffix}" if dot else ""


def with_suffix(name: str, right: Collection[str], known: Collection[str]) -> str:
    """Return a clean name which ends in one of the `right` suffixes, in the first where it has none of them.

    Another of those that are `known` gives way to it; anything else stays before it.
    """
    suffix = suffix_of(name)
    if suffix in right:
        return name
    stem = name[: -len(suffix)] if suffix and suffix in known else name
    first = next(iter(right))
    return f"{(stem or NAMELESS)[: LONGEST - len(first)]}{first}"
