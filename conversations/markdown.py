"""Markdown as HTML that is safe to show in a page: parsed without HTML of its own, then held to a list of what may be.

Pure. What an image would show is a link to it, so that nothing is loaded from elsewhere; headings begin below those of
the page around them. A text that would cost too much is shown as it is. A page of prose costs about a millisecond, the
worst that is found of what is let in six times as much.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from html import escape
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

LONGEST = 40_000  # characters that are read as Markdown
BRACKETS = 4_000  # in them: each may begin a link, and is looked at as one
MISSING_CELLS = 5_000  # of tables, which are made up to the width of their first row
REMEMBERED = 256  # texts whose HTML is remembered

_TAGS = {
    "a", "blockquote", "br", "code", "em", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "s", "strong",
    "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
_ATTRIBUTES = {"a": {"href", "title"}, "code": {"class"}, "ol": {"start"}, "td": {"align"}, "th": {"align"}}
_VALUES = {
    "href": re.compile(r"(?:https?://|mailto:)[^\s]", re.IGNORECASE),  # none that means a place on the page's own site
    "class": re.compile(r"language-[\w+#.-]{1,40}\Z"),
    "start": re.compile(r"\d{1,9}\Z"),
    "align": re.compile(r"(?:left|center|right)\Z"),
}


@lru_cache(maxsize=REMEMBERED)
def render(text: str) -> str:
    """Return Markdown as safe HTML."""
    return plain(text) if _is_costly(text) else _clean(_parser.render(text))


def plain(text: str) -> str:
    """Return text as HTML that shows it as it is."""
    return f"<pre>{escape(text)}</pre>" if text else ""


class Growing:
    """The HTML of a text that grows: what is finished of it is rendered once.

    A block at the top is finished when another one began after it and a further line is complete: nothing that comes
    later changes it, but for a link that is defined later.
    """

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._text = ""  # as it was rendered last
        self._finished = ""  # the HTML of its beginning
        self._length = 0  # of that beginning
        self._links: dict[str, Any] = {}  # defined in it
        self._has_links = False

    def finish(self, text: str) -> str:
        """Return the HTML of the whole text, the same that `render` gives."""
        html = self.grow(text)
        return render(text) if self._has_links else html

    def grow(self, text: str) -> str:
        """Return the HTML of `text` as it is so far."""
        if not text.startswith(self._text):
            self._begin()
        self._text = text
        if _is_costly(text):
            return plain(text)
        rest = text[self._length :]
        environment: EnvType = {"references": dict(self._links)}
        tokens = _parser.parse(rest, environment)
        self._has_links = self._has_links or bool(environment["references"])
        line, first = _unfinished(tokens, rest.count("\n"))
        if "\r" in rest:
            line = first = 0  # a line's end that is counted in another way
        if first:
            self._finished += _html(tokens[:first], environment)
            self._length += _offset(rest, line)
            defined = environment["references"].items()
            self._links |= {name: link for name, link in defined if name not in self._links and link["map"][0] < line}
        return self._finished + _html(tokens[first:], environment)


def _unfinished(tokens: Sequence[Token], newest: int) -> tuple[int, int]:
    """Return line and place of the first token that is not finished; `newest` is the line that grows."""
    found = (0, 0)
    for place, token in enumerate(tokens):
        if token.level == 0 and token.nesting >= 0 and token.map and token.map[0] + 1 < newest:
            found = (token.map[0], place)
    return found


def _offset(text: str, line: int) -> int:
    """Return where a line begins."""
    at = 0
    for _ in range(line):
        at = text.index("\n", at) + 1
    return at


def _is_costly(text: str) -> bool:
    """Tell whether a text would cost too much to be read as Markdown."""
    return len(text) > LONGEST or text.count("[") > BRACKETS or _missing_cells(text) > MISSING_CELLS


def _missing_cells(text: str) -> int:
    """Return how many cells would be made up, at most, for tables with rows that are shorter than their first."""
    if "|" not in text:
        return 0
    missing = width = 0
    for line in text.splitlines():
        bars = line.count("|")
        if not line.strip():
            width = 0
        elif width:
            missing += max(0, width - bars)
        elif bars and not line.strip(_BELOW_HEAD):
            width = bars
    return missing


_BELOW_HEAD = "|:-> \t*+"  # what the line may hold that says how wide a table is


def _html(tokens: Sequence[Token], environment: EnvType) -> str:
    return _clean(_parser.renderer.render(tokens, _parser.options, environment)) if tokens else ""


# --- What may be shown --------------------------------------------------------------------------


def _clean(html: str) -> str:
    """Return what of `html` may be shown."""
    return nh3.clean(
        html,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        attribute_filter=_allowed,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    )


def _allowed(tag: str, attribute: str, value: str) -> str | None:
    """Return an attribute's value where it may stand; `rel` and `target` are ours."""
    expected = _VALUES.get(attribute)
    return value if expected is None or expected.match(value) else None


def _make_parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False, "breaks": True, "xhtmlOut": False, "linkify": True})
    parser.enable(["table", "strikethrough", "linkify"])
    assert parser.linkify is not None
    parser.linkify.set({"fuzzy_link": False, "fuzzy_email": False})  # what has a scheme is meant as a link
    parser.core.ruler.push("fit", _fit)
    parser.add_render_rule("image", _image)
    return parser


def _fit(state: StateCore) -> None:
    """Lower headings by two, and say by an attribute how a cell is aligned: no style is taken."""
    for token in state.tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(6, int(token.tag[1:]) + 2)}"
        elif token.type in ("td_open", "th_open") and (style := token.attrs.pop("style", None)):
            token.attrs["align"] = str(style).removeprefix("text-align:")


def _image(self: RendererHTML, tokens: Sequence[Token], place: int, options: OptionsDict, environment: EnvType) -> str:
    """Return a link to a picture, named as the picture is described."""
    token = tokens[place]
    address = str(token.attrs["src"])
    words = self.renderInlineAsText(token.children, options, environment) if token.children else ""
    return f'<a href="{escape(address)}">{escape(words or address)}</a>'


_parser = _make_parser()
