"""Markdown as HTML that is safe to show in a page: parsed without HTML of its own, then held to a list of what may be.

Pure. What an image would show is a link to it, so that nothing is loaded from elsewhere; headings begin below those of
the page around them. A text that would cost too much is shown as it is. A KiB of prose costs two milliseconds, the
worst that is found of what is let in seven or eight: a third of a second for the longest text.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from html import escape
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

LONGEST = 40_000  # characters that are read as Markdown
BRACKETS = 4_000  # in them: each may begin a link, and is looked at as one
CELLS = 5_000  # of tables, with those that are made up to the width of their first row
QUOTED_LINES = 5_000  # that a quote goes on in without its mark, once for every quote that is open
DEEPEST = 20  # blocks in one another; what is deeper the parser would leave out
REMEMBERED = 256  # texts whose HTML is remembered
REMEMBERED_LENGTH = 2_000  # characters of each at most

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


def render(text: str) -> str:
    """Return Markdown as safe HTML."""
    return _render(text) if len(text) > REMEMBERED_LENGTH else _remembered(text)


def _render(text: str) -> str:
    if _is_costly(text):
        return plain(text)
    try:
        return _clean(_parser.render(text))
    except _TooDeepError:
        return plain(text)


_remembered = lru_cache(maxsize=REMEMBERED)(_render)


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
        try:
            tokens = _parser.parse(rest, environment)
        except _TooDeepError:
            return plain(text)
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
    return (
        len(text) > LONGEST or text.count("[") > BRACKETS or _cells(text) > CELLS or _quoted_lines(text) > QUOTED_LINES
    )


def _cells(text: str) -> int:
    """Return how many cells tables would have, at most, with those made up where a row is shorter than the first."""
    if text.count("|") < 2:
        return 0
    cells = width = 0
    for line in text.splitlines():
        bars = line.count("|")
        if not line.strip():
            width = 0
        elif width:
            cells += max(width, bars)
        elif bars and not line.strip(_BELOW_HEAD):
            width = bars
            cells += width
    return cells


def _quoted_lines(text: str) -> int:
    """Return how many lines would be looked at, at most, once more for each quote that goes on in them unmarked."""
    if ">" not in text:
        return 0
    lines = quotes = 0
    for line in text.splitlines():
        marks = _MARKS.match(line)
        marked = marks[0].count(">") if marks else 0
        if not line.strip():
            quotes = 0
        lines += max(0, quotes - marked)
        quotes = min(DEEPEST, max(quotes, marked))
    return lines


_MARKS = re.compile(r"[\s>*+\-\d.)]+")  # what a line begins with in quotes and lists
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
    parser = MarkdownIt("commonmark", {"html": False, "breaks": True, "xhtmlOut": False, "maxNesting": DEEPEST})
    parser.enable(["table", "strikethrough"])
    parser.block.ruler.before("table", "depth", _check_depth)
    parser.inline.ruler.after("text", "address", _address)
    parser.core.ruler.push("fit", _fit)
    parser.add_render_rule("image", _image)
    return parser


class _TooDeepError(Exception):
    """A text has blocks in one another that the parser would leave out."""


def _check_depth(state: StateBlock, line: int, end: int, silent: bool) -> bool:
    """Raise _TooDeepError before the parser would leave something out: a list is two levels."""
    if state.level >= DEEPEST - 2:
        raise _TooDeepError
    return False


def _address(state: StateInline, silent: bool) -> bool:
    """Make a link of an address that stands by itself. Looks at each character once, whatever the text.

    What has a scheme is meant as a link, nothing else is.
    """
    if state.src[state.pos] != ":" or silent or state.linkLevel:
        return False
    scheme = _SCHEME.search(state.pending[-7:])  # the longest and what is before it
    found = _AFTER_SCHEME[scheme[0].lower()].match(state.src, state.pos, state.posMax) if scheme else None
    if scheme is None or found is None:
        return False
    address = scheme[0] + _without_tail(found[0])
    state.pending = state.pending[: -len(scheme[0])]
    state.push("link_open", "a", 1).attrs = {"href": state.md.normalizeLink(address)}
    state.push("text", "", 0).content = state.md.normalizeLinkText(address)
    state.push("link_close", "a", -1)
    state.pos += len(address) - len(scheme[0])
    return True


def _without_tail(address: str) -> str:
    """Return an address without what belongs to the sentence around it, as a bracket that was opened before."""
    opened = address.count("(") - address.count(")")
    end = len(address)
    while address[end - 1] in _TAIL or (address[end - 1] == ")" and opened < 0):
        end -= 1
        opened += address[end] == ")"
    return address[:end]


_SCHEME = re.compile(r"(?<![a-z0-9.+-])(?:https?|mailto)\Z", re.IGNORECASE)
# Each begins with what no tail has: so none is empty, and none is looked at again.
_WEB = re.compile(r"://[^\W_][^\s<>\[\]\"`|\\。，、；：！？（）《》「」『』【】“”‘’…]*")
_AFTER_SCHEME = {"http": _WEB, "https": _WEB, "mailto": re.compile(r":[\w.+-]{1,64}@[^\W_][\w.-]{0,253}")}
_TAIL = frozenset(".,:;!?'*_~")


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
