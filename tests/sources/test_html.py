"""HTML: the expected lines, headings and passages are written by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbert_retrieval.sources.html import read_html
from mbert_retrieval.sources.split import split_into_passages

PAGE = """<!DOCTYPE html>
<html><head><title>The &amp; Page</title>
<style>p { color: red }</style>
<script>var hidden = "<p>no</p>";</script>
</head><body>
<nav>Home | <a href="/">Up</a></nav>
<h1>Install<br>it</h1>
<p>Run <b>pip</b>&nbsp;install, caf&eacute; &lt;now&gt;.</p>
<!-- a remark -->
<h2 id=x>On <code>Linux</code></h2>
<ul><li>one</li><li>two</li></ul>
<table><tr><td>a</td><td>b</td></tr></table>
<h2></h2>
<pre>x = 1
  y = 2</pre>
<h1>Use</h1>
un<em>brok</em>en <noscript>off</noscript> <svg><text>drawn</text></svg> &#128640;
</body></html>
"""


def test_html_gives_the_lines_that_a_reader_sees():
    lines, headings = read_html(PAGE)
    assert len(lines) == PAGE.count("\n") + 1
    assert {number: line for number, line in enumerate(lines, start=1) if line} == {
        2: "The & Page",
        7: "Install it",
        8: "Run pip install, café <now>.",
        10: "On Linux",
        11: "one two",
        12: "a b",
        14: "x = 1",
        15: "y = 2",
        16: "Use",
        17: "unbroken \N{ROCKET}",
    }
    assert headings == [
        (2, 0, "The & Page"),
        (7, 1, "Install it"),
        (10, 2, "On Linux"),
        (16, 1, "Use"),
    ]


def test_html_is_split_at_its_headings():
    found = [(p.start_line, p.end_line, p.title) for p in split_into_passages(PAGE, "a.html")]
    assert found == [
        (2, 2, "The & Page"),
        (7, 8, "The & Page > Install it"),
        (10, 15, "The & Page > Install it > On Linux"),
        (16, 17, "The & Page > Use"),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("<p>open <b>never closed", "open never closed"),
        ("</div></p>closed <i>never open</b>", "closed never open"),
        ("a < b and c > d & e", "a < b and c > d & e"),
        ("<h1>one<h2>two</h1> three", "one two three"),
        ("<![CDATA[x]]> y", "y"),
        ("<script>if (a</b) {}</script>z", "z"),
        ("<p>before<script>never closed", "before"),
        ("<svg/>seen", "seen"),
        ("<svg><path d=''/></svg>seen", "seen"),
        ("<template><nav>x</nav></template>seen", "seen"),
        ("<nav><div>x</div></nav>seen", "seen"),
        ("<nav>x<nav>y</nav>z</nav>seen", "seen"),
        ("<div><nav>x</div>seen", "x seen"),
    ],
)
def test_broken_html_loses_no_more_than_it_must(text, words):
    lines, _ = read_html(text)
    assert " ".join(lines).split() == words.split()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["<p>", "</p>", "<h1>", "</h2>", "<nav>", "</nav>", "<!--", "-->", "<![", "]]>", "<?",
             ">", "<script>", "</script>", "<svg/>", "&", "&#x;", "&#1114112;", "\n", "\x00", "a",
             "<a b='"]
        ),
        max_size=30,
    ).map("".join)
)  # fmt: skip
def test_any_html_is_read(text):
    lines, headings = read_html(text)
    assert len(lines) == text.count("\n") + 1
    assert all(1 <= line <= len(lines) and title for line, _, title in headings)
    list(split_into_passages(text, "a.html"))
