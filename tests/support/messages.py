"""The sentences of our pages and their translations; run as a program, it compiles these (`make messages`)."""

import gettext
import io
import sys
from collections.abc import Iterator
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from django.utils.translation.template import templatize

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "chatgateway" / "locale" / "zh_Hans" / "LC_MESSAGES"
SOURCE, COMPILED = FOLDER / "django.po", FOLDER / "django.mo"
KEYWORDS = {"_": None, "gettext": None, "gettext_lazy": None, "ngettext": (1, 2)}


def used() -> set[str]:
    """Return every sentence that our pages ask the translation of."""
    return {str(words) for file in _files() for words in _words(file)}


def translations() -> Catalog:
    """Return the translations as they are written."""
    with SOURCE.open("rb") as file:
        return read_po(file, locale="zh_Hans")


def missing() -> list[str]:
    """Return the sentences that have no translation, sorted."""
    known = {str(message.id) for message in translations() if message.string and not message.fuzzy}
    return sorted(used() - known)


def compiled() -> dict[str, str]:
    """Return the translations as pages get them."""
    with COMPILED.open("rb") as file:
        catalogue: dict[str, str] = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
    return {words: translated for words, translated in catalogue.items() if words}


def _files() -> Iterator[Path]:
    yield from sorted((ROOT / "chatgateway").rglob("*.py"))
    yield from sorted((ROOT / "integrations").glob("*/playground.py"))
    yield from sorted((ROOT / "templates").rglob("*.html"))


def _words(file: Path) -> Iterator[object]:
    text = file.read_text()
    if file.suffix == ".html":
        text = templatize(text, origin=str(file))
    for _, words, _, _ in extract("python", io.BytesIO(text.encode()), keywords=KEYWORDS):
        yield from words if isinstance(words, tuple) else (words,)


if __name__ == "__main__":
    for sentence in missing():
        print(f"not translated: {sentence}", file=sys.stderr)  # noqa: T201  a program
    with COMPILED.open("wb") as compiled_file:
        write_mo(compiled_file, translations())
