"""Markdown for pages: what it shows, what it never lets through, and that a growing text comes to the same."""

import re
import time
from html.parser import HTMLParser
from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conversations import markdown
from conversations.markdown import BRACKETS, CELLS, LONGEST, QUOTED_LINES, REMEMBERED_LENGTH, Growing, plain, render

ALLOWED = {
    "a": {"href", "title", "rel", "target"},
    "code": {"class"},
    "ol": {"start"},
    "td": {"align"},
    "th": {"align"},
}
BARE = {
    "blockquote", "br", "em", "h3", "h4", "h5", "h6", "hr", "li", "p", "pre", "s", "strong", "table", "tbody", "thead",
    "tr", "ul",
}  # fmt: skip
RELATION = "noopener noreferrer nofollow"


class Strict(HTMLParser):
    """Complains about everything that may not be shown."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert tag in ALLOWED or tag in BARE, tag
        assert given.keys() <= ALLOWED.get(tag, set()), (tag, given)
        if "href" in given:
            assert re.match(r"(?i)(https?://|mailto:)\S", given["href"] or ""), given
        if tag == "a":
            assert given["rel"] == RELATION
            assert given["target"] == "_blank"
        if "class" in given:
            assert re.fullmatch(r"language-[\w+#.-]{1,40}", given["class"] or "")

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(f"a declaration: {decl}")

    def handle_pi(self, data: str) -> None:
        raise AssertionError(f"an instruction: {data}")


def check(html: str) -> None:
    strict = Strict()
    strict.feed(html)
    strict.close()


def test_what_is_shown() -> None:
    assert render("**Hello**, `x < y` and ~~no~~ *yes*") == (
        "<p><strong>Hello</strong>, <code>x &lt; y</code> and <s>no</s> <em>yes</em></p>\n"
    )
    assert render("# One\n\n###### Six") == "<h3>One</h3>\n<h6>Six</h6>\n"
    assert render("one\ntwo") == "<p>one<br>\ntwo</p>\n"
    assert render("3. a\n4. b") == '<ol start="3">\n<li>a</li>\n<li>b</li>\n</ol>\n'
    assert render("- a\n- b") == "<ul>\n<li>a</li>\n<li>b</li>\n</ul>\n"
    assert render("```python\nx = 1\n```") == '<pre><code class="language-python">x = 1\n</code></pre>\n'
    assert render("> said") == "<blockquote>\n<p>said</p>\n</blockquote>\n"
    assert render("<b>tags</b> are &lt;words&gt;") == "<p>&lt;b&gt;tags&lt;/b&gt; are &lt;words&gt;</p>\n"
    assert render("") == ""


def test_a_table_and_how_its_cells_are_aligned() -> None:
    html = render("| a | b |\n|:-:|--:|\n| 1 | 2 |")
    assert '<th align="center">a</th>' in html
    assert '<td align="right">2</td>' in html
    assert "style" not in html


def test_a_link_leads_out_and_tells_nothing() -> None:
    link = f'<a href="https://example.com/a?b=1&amp;c=2" target="_blank" rel="{RELATION}">'
    for text in (
        "[here](https://example.com/a?b=1&c=2)",
        "<https://example.com/a?b=1&c=2>",
        "https://example.com/a?b=1&c=2",
    ):
        assert link in render(text), text
    assert render("见https://example.com/文档。").count("<a ") == 1
    assert "<a" not in render("example.com and me@example.com are words")


@pytest.mark.parametrize("target", ["/admin/logout/", "//evil.example", "?x=1", "#top", "admin/", "ftp://x/", "tel:1"])
def test_a_link_to_the_page_s_own_site_or_of_another_kind_is_words(target: str) -> None:
    html = render(f"[here]({target})")
    assert "href" not in html
    assert "here" in html


def test_a_picture_is_a_link_to_it() -> None:
    html = render('![a "cat"](https://example.com/cat.png)')
    assert "<img" not in html
    assert 'href="https://example.com/cat.png"' in html
    assert 'a "cat"' in html
    check(render("[![a](https://example.com/1.png)](https://example.com/2)"))


ADDRESSES = {
    "(https://e.example/a_(b)_c)": "https://e.example/a_(b)_c",
    "see https://e.example/a?b=1&c=2#d.": "https://e.example/a?b=1&c=2#d",
    "HTTPS://E.example!": "HTTPS://E.example",
    "**https://e.example**": "https://e.example",
    "~~https://e.example~~": "https://e.example",
    "_https://e.example_": "https://e.example",
    "- http://127.0.0.1:8000/x\n": "http://127.0.0.1:8000/x",
    "| a |\n|---|\n| https://e.example/*x |": "https://e.example/*x",
    "见https://e.example/文档。下一句": "https://e.example/文档",
    "“https://e.example/a”，": "https://e.example/a",
    "mailto:me.too@e.example.": "mailto:me.too@e.example",
    "[one](https://e.example/1)https://e.example/2": "https://e.example/2",
}


@pytest.mark.parametrize("text", ADDRESSES)
def test_an_address_that_stands_by_itself_is_a_link_without_the_sentence_around_it(text: str) -> None:
    html = render(text)
    words = ADDRESSES[text].replace("&", "&amp;")
    assert f">{words}</a>" in html, html
    check(html)


@pytest.mark.parametrize(
    "text",
    [
        "xhttps://e.example", "https://", "https:// e.example", "https://____", "https://...", "http:e.example",
        "://e.example", "ftp://e.example", "mailto:", "mailto:me", "mailto:@e.example", "`https://e.example`",
        "https\\://e.example", "    https://e.example", "```\nhttps://e.example\n```", "- - - - -",
    ],
)  # fmt: skip
def test_what_only_looks_like_an_address_is_none(text: str) -> None:
    assert "<a" not in render(text)


def test_a_link_s_words_hold_no_other_link() -> None:
    assert render("[https://e.example/1](https://e.example/2)").count("<a ") == 1
    assert 'href="https://e.example/2"' in render("[https://e.example/1](https://e.example/2)")


@pytest.mark.parametrize("deep", [1, 5, 9, 10, 11, 17, 18, 19, 20, 30, 100])
@pytest.mark.parametrize("kind", ["quotes", "lists", "lists of quotes"])
def test_of_what_is_deep_in_something_nothing_is_lost(kind: str, deep: int) -> None:
    marks = {"quotes": "> " * deep, "lists": "- " * deep, "lists of quotes": "- > " * deep}[kind]
    text = f"{marks}words"
    html = render(text)
    assert "words" in html
    growing = Growing()
    assert growing.grow("Before.\n\nAnd so on.\n\n" + text).count("words") == 1
    assert growing.finish(text) == html


def test_what_is_deep_and_then_not_is_one_or_the_other() -> None:
    lists = "".join("  " * depth + f"- item {depth}\n" for depth in range(12))
    assert render(lists) == plain(lists)
    assert "blockquote" in render("> " * 15 + "words")


def test_short_texts_only_are_remembered() -> None:
    markdown._remembered.cache_clear()
    for length in (REMEMBERED_LENGTH, REMEMBERED_LENGTH + 1, LONGEST + 1):
        render("a" * length)
    assert markdown._remembered.cache_info().currsize == 1


def test_a_text_that_is_too_long_is_shown_as_it_is() -> None:
    text = "**a** <b>&" + "x" * LONGEST
    assert render(text) == plain(text) == f"<pre>**a** &lt;b&gt;&amp;{'x' * LONGEST}</pre>"


@pytest.mark.parametrize(
    ("cheap", "costly"),
    [
        ("[" * BRACKETS, "[" * (BRACKETS + 1)),
        ("|a" * 99 + "|\n" + "|-" * 99 + "|\n" + "|\n" * 49, "|a" * 99 + "|\n" + "|-" * 99 + "|\n" + "|\n" * 50),
        ("|a|\n|-|\n" + "|a|\n" * (CELLS // 2 - 1), "|a|\n|-|\n" + "|a|\n" * (CELLS // 2)),
        ("> > a\n" + "a\n" * (QUOTED_LINES // 2), "> > a\n" + "a\n" * (QUOTED_LINES // 2 + 1)),
        ("- > > a\n> a\n" + "a\n" * (QUOTED_LINES // 2 - 1), "- > > a\n> a\n" + "a\n" * (QUOTED_LINES // 2)),
    ],
    ids=["brackets", "cells made up", "cells", "lazy lines", "lazy lines after a mark too few"],
)
def test_a_text_that_would_cost_too_much_is_shown_as_it_is(cheap: str, costly: str) -> None:
    assert render(cheap) != plain(cheap)
    assert render(costly) == plain(costly)
    growing = Growing()
    assert growing.grow(costly[:20]) == render(costly[:20])
    assert growing.grow(costly) == growing.finish(costly) == plain(costly)


# --- What never comes through ------------------------------------------------------------------

SCRIPTS = [
    "<script>alert(1)</script>",
    "<ScRiPt src=//evil.example/x.js></sCrIpT>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<math><mtext></mtext><mglyph><style><img src=x onerror=alert(1)>",
    "<form><math><mtext></form><form><mglyph><style></math><img src onerror=alert(1)>",
    '<noscript><p title="</noscript><img src=x onerror=alert(1)>">',
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<object data=javascript:alert(1)></object><embed src=javascript:alert(1)>",
    "<a href=javascript:alert(1)>x</a>",
    "<style>@import 'https://evil.example/x.css';</style>",
    "<link rel=stylesheet href=https://evil.example/x.css>",
    "<meta http-equiv=refresh content='0;url=javascript:alert(1)'>",
    "<base href=https://evil.example/>",
    "<body onload=alert(1)>",
    "<input autofocus onfocus=alert(1)>",
    "<details open ontoggle=alert(1)>",
    "<video><source onerror=alert(1)></video>",
    "<template><script>alert(1)</script></template>",
    "<!--><script>alert(1)</script>-->",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<?xml version='1.0'?><x/>",
    "<!DOCTYPE html>",
    "<a id=config name=strings>clobbered</a>",
    "<p style='position:fixed;inset:0'>over everything</p>",
    "<x-element is=evil>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)&#60;/script&#62;",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\u0000script:alert(1))",
    "[x](java&#x73;cript:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](java%73cript:alert(1))",
    "[x](\tjavascript:alert(1))",
    "[x](<java\tscript:alert(1)>)",
    "[x](vbscript:msgbox(1))",
    "[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    "[x](data:image/svg+xml;base64,PHN2Zy8+)",
    "[x](blob:https://example.com/1)",
    "[x](file:///etc/passwd)",
    "![x](javascript:alert(1))",
    "![x](data:image/png;base64,AAAA)",
    '![x" onerror="alert(1)](https://e.example/x.png)',
    '![x](https://e.example/x.png"onerror=alert(1))',
    "![x](https://e.example/pixel.gif)",
    '[x](https://e.example "><script>alert(1)</script>")',
    "[x](https://e.example 'onmouseover=alert(1)')",
    '[x"><img src=x onerror=alert(1)>](https://e.example)',
    "[x]: javascript:alert(1)\n\n[x]",
    '[x]: https://e.example "\'><script>alert(1)</script>"\n\n[x]',
    "<javascript:alert(1)>",
    '<https://e.example/"onmouseover="alert(1)>',
    'https://e.example/"onmouseover="alert(1)',
    "https://e.example/<script>alert(1)</script>",
    "javascript://e.example/%0aalert(1)",
    '```"><script>alert(1)</script>\nx\n```',
    '```js" onclick="alert(1)\nx\n```',
    "```x y z onload=alert(1)\nx\n```",
    "`<script>alert(1)</script>`",
    "    <script>alert(1)</script>",
    "| <img src=x onerror=alert(1)> |\n|---|\n| <script>alert(1)</script> |",
    "> <script>alert(1)</script>",
    "- <script>alert(1)</script>",
    "# <script>alert(1)</script>",
    "**<script>alert(1)</script>**",
    "\\<script>alert(1)\\</script>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<<script>alert(1)//<</script>",
    "\u202e<script>alert(1)</script>",
    "＜script＞alert(1)＜/script＞",
]


@pytest.mark.parametrize("text", SCRIPTS)
def test_nothing_that_runs_or_loads_comes_through(text: str) -> None:
    for around in ("{}", "before {} after", "> - {}", "**{}**", "| {} |\n|---|\n| {} |"):
        check(render(around.replace("{}", text)))
    growing = Growing()
    for end in range(1, len(text) + 1):
        check(growing.grow(text[:end]))
    check(growing.finish(text))


@given(st.text(st.sampled_from("<>\"'&;:/\\=`*_~[]()!#|-+. \n\tajsx0http"), max_size=120))
def test_no_text_at_all_does(text: str) -> None:
    check(render(text))


# --- A text that grows ---------------------------------------------------------------------------

ANSWER = """# Title

A paragraph with **bold** words and a [link](https://example.com).
It goes on.

1. one

2. two
   - deep

     deeper
- [x] other list

| a | b |
|---|:-:|
| 1 | 2 |

```python
def f():

    return 1
```

> quoted
lazily

* * *
Last
====

    indented

Done.
"""


@pytest.mark.parametrize("step", [1, 3, 17])
def test_a_growing_text_is_at_every_moment_what_the_whole_one_would_be(step: int) -> None:
    growing = Growing()
    for end in range(step, len(ANSWER) + 1, step):
        assert growing.grow(ANSWER[:end]) == render(ANSWER[:end])
    assert growing.finish(ANSWER) == render(ANSWER)


@settings(max_examples=150)
@given(
    st.lists(
        st.sampled_from([
            "word", " ", "\n", "\n\n", "- ", "1. ", "2", ". ", "> ", "```", "```\n", "    ", "| a |", "|---|", "# ",
            "\t", "\n|---|\n", "---", "===", "**", "`", "[a]", "[a]: https://e.example\n", "(https://e.example)", "*",
            "\r\n", "~~", "<b>",
        ]),
        max_size=40,
    )
)  # fmt: skip
def test_whatever_grows_ends_as_the_whole_text(pieces: list[str]) -> None:
    growing = Growing()
    for end in range(1, len(pieces) + 1):
        check(growing.grow("".join(pieces[:end])))
    assert growing.finish("".join(pieces)) == render("".join(pieces))


def test_another_text_is_begun_anew() -> None:
    growing = Growing()
    growing.grow("# One\n\nand more\n\nand more\n")
    assert growing.grow("Two") == render("Two")
    assert growing.finish("Three") == render("Three")


def test_what_is_finished_is_not_rendered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "\n\n".join(f"Paragraph {number} with **some** words." for number in range(300)) + "\n\n"
    growing = Growing()
    growing.grow(text)
    parsed = Mock(wraps=markdown._parser.parse)
    monkeypatch.setattr(markdown._parser, "parse", parsed)
    more = text + "And more, which is long enough to be shown at once."
    assert growing.grow(more) == render(more)
    (again, _environment), _ = parsed.call_args_list[0]
    assert len(again) < 200


# --- What costs much -----------------------------------------------------------------------------

HOSTILE = {
    "quotes": "> " * 20_000,
    "quotes in lines": ("> " * 30 + "a\n") * 600,
    "lists": "- " * 20_000,
    "nested lists": "".join("  " * depth + "- a\n" for depth in range(190)),
    "brackets": "[" * LONGEST,
    "pairs of brackets": "[]" * (LONGEST // 2),
    "links": "[a](" * (LONGEST // 4),
    "pictures": "![" * (LONGEST // 2),
    "stars": "*a " * (LONGEST // 3),
    "double stars": "**a " * (LONGEST // 4),
    "stars and bars": "*_" * (LONGEST // 2),
    "waves": "~~a" * (LONGEST // 3),
    "backticks": "".join("`" * number + " " for number in range(1, 280)),
    "entities": "&" * LONGEST,
    "angles": "<" * LONGEST,
    "addresses": "https://" * (LONGEST // 8),
    "an address": "https://" + "a." * (LONGEST // 2 - 10),
    "addresses in brackets": "http://a(" * (LONGEST // 9),
    "ends of schemes": "://" * LONGEST,
    "beginnings of addresses": "http://" * LONGEST,
    "short addresses": "http://a" * LONGEST,
    "addresses with a space": "http://a " * LONGEST,
    "an address and brackets": "http://a.b/" + "(" * LONGEST,
    "addresses and brackets": ("http://a.b/" + "(" * 900 + " ") * 50,
    "addresses and other brackets": ("http://a.b/" + ")" * 90) * 500,
    "addresses and dots": ("http://a" + "." * 90) * 500,
    "mail": "mailto:" * LONGEST,
    "mail to somebody": "mailto:a@b " * LONGEST,
    "mail to nobody": ("mailto:" + "a" * 64) * 1000,
    "colons": ":" * LONGEST,
    "foreign hosts": "".join(f"http://{chr(0x4E00 + number) * 60} " for number in range(1000)),
    "a foreign host": "http://" + "".join(chr(0x4E00 + number % 20_000) for number in range(LONGEST)),
    "quotes and lazy lines": "> " * 500 + "a\n" * LONGEST,
    "deep quotes and lazy lines": "> " * 17 + "a\n" * LONGEST,
    "quotes in lists and lazy lines": "> - " * 6 + "a\n" * LONGEST,
    "just so many lazy lines": ("> " * 17 + "a\n" + "a\n" * 290 + "\n") * 60,
    "lists and lazy lines": "- " * 8 + "a\n" * LONGEST,
    "a wide table that is full": ("|" + "a|" * 6600 + "\n") + ("|" + "-|" * 6600 + "\n") + "|" + "a|" * 6600,
    "a long table that is full": "|a|a|a|\n|-|-|-|\n" + "|a|a|a|\n" * 5000,
    "a wide table of just so many cells": "|" + "a|" * 1600 + "\n|" + "-|" * 1600 + "\n|" + "a|" * 1600,
    "items": "- a\n" * LONGEST,
    "items apart": "- a\n\n" * LONGEST,
    "deep items": "".join("  " * (number % 8) + "- a\n" for number in range(20_000)),
    "paragraphs": "a\n\n" * LONGEST,
    "a wide table": "|" + "a|" * 4000 + "\n|" + "-|" * 4000 + "\n" + "a\n" * 8000,
    "definitions": "".join(f"[{number}]: x\n" for number in range(4000)),
    "references": "[a]: x\n" + "[a]" * 13_000,
    "backslashes": "\\" * LONGEST,
    "line ends": "\n" * LONGEST,
    "fences": "```\n" * (LONGEST // 4),
    "headings": "# a\n" * (LONGEST // 4),
    "rules": "---\n" * (LONGEST // 4),
    "spaces": "a" + " " * (LONGEST - 2) + "b",
    "tabs": "\t" * LONGEST,
    "emphasis nested": "*a **a " * (LONGEST // 7),
    "a table of the width that is taken": "|" + "a|" * 140 + "\n|" + "-|" * 140 + "\n" + "a\n" * 38_000,
    "tables": ("|" + "a|" * 60 + "\n|" + "-|" * 60 + "\n" + "a\n" * 80 + "\n") * 100,
    "just so many brackets": ("[" * 100 + "a" * 900) * 40,
    "closers": "a**b" + "c* " * (LONGEST // 3 - 2),
}


PROSE = ("Some **bold** words, and a [link](https://example.com), in a sentence that goes on.\n\n" * 1000)[:LONGEST]


def rendered(text: str) -> tuple[str, float]:
    """Return a text's HTML, and the seconds of a processor that it took."""
    began = time.process_time()
    html = render(text)
    return html, time.process_time() - began


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_text_costs_little_and_stays_small(name: str) -> None:
    text = HOSTILE[name][:LONGEST]
    html, seconds = rendered(text)
    # Beside one another, so that it is the text and not the machine: 14 times at most where that is quiet.
    assert seconds < 40 * rendered(PROSE)[1]
    assert len(html) < 40 * len(text) + 1000
    check(html)
