"""Prose is split at headings, and long sections into passages that overlap."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbert_retrieval.sources.prose import MAX_WORDS, OVERLAP_WORDS, find_headings, split_by_headings
from mbert_retrieval.sources.split import split_into_passages


def test_prose_is_split_at_headings_and_paragraphs():
    long = "\n\n".join(f"paragraph {n} " + "word " * 60 for n in range(6))
    install = "# Install\n\nrun\n\n```sh\n# no heading\n```"
    text = f"intro\n\n{install}\n\n## Linux\n\n{long}\n\nSet\n===\nend"
    passages = list(split_into_passages(text, "README.md"))
    headings = [passage.metadata["name"] for passage in passages]
    assert headings == ["", "Install", *["Install > Linux"] * 2, "Set"]
    assert "# no heading" in passages[1].text
    assert all(len(passage.text.split()) <= MAX_WORDS for passage in passages)
    assert passages[2].title == "Install > Linux"


def test_restructured_text_headings_nest_by_order_of_appearance():
    text = "Top\n***\n\none\n\nSub\n~~~\n\ntwo\n\nNext\n****\n\nthree\n"
    names_of = [passage.metadata["name"] for passage in split_into_passages(text, "a.rst")]
    assert names_of == ["Top", "Top > Sub", "Next"]


@given(st.integers(1, 1500))
@settings(max_examples=60, deadline=None)
def test_a_line_of_many_words_is_split_into_pieces_that_overlap(count):
    words = [f"w{n}" for n in range(count)]
    pieces = [p.text.split() for p in split_into_passages(" ".join(words), "a.txt")]
    assert pieces[0][0] == "w0"
    assert pieces[-1][-1] == words[-1]
    if count <= 2 * MAX_WORDS:
        assert pieces == [words]
        return
    assert all(len(piece) <= MAX_WORDS for piece in pieces)
    for before, after in pairwise(pieces):
        assert before[-OVERLAP_WORDS:] == after[:OVERLAP_WORDS]
    assert len({p.id for p in split_into_passages(" ".join(words), "a.txt")}) == len(pieces)


@given(st.lists(st.integers(0, 90), min_size=1, max_size=40))
@settings(max_examples=80, deadline=None)
def test_passages_of_prose_are_full_and_repeat_little(counts):
    """counts: of words a line; 0 is a blank line."""
    lines = [" ".join(f"l{n}w{m}" for m in range(count)) for n, count in enumerate(counts)]
    pieces = list(split_into_passages("\n".join(lines), "a.txt"))
    for before, after in pairwise(pieces):
        repeated = lines[after.start_line - 1 : before.end_line]
        assert before.start_line < after.start_line
        assert before.end_line < after.end_line
        assert len(" ".join(repeated).split()) <= OVERLAP_WORDS
        together = lines[before.start_line - 1 : after.end_line]
        assert len(" ".join(together).split()) > MAX_WORDS
    assert all(len(p.text.split()) <= MAX_WORDS for p in pieces)
    read = {word for p in pieces for word in p.text.split()}
    assert read == set(" ".join(lines).split())


def headings_of(text: str, language: str) -> list[tuple[int, int, str]]:
    return [tuple(heading) for heading in find_headings(text.split("\n"), language)]


def test_headings_of_markdown():
    text = """\
# One #
text
   ### Three

Two
---
One
===

Also one
========
#no
    # indented
####### seven
- item
---
"""
    assert headings_of(text, "markdown") == [
        (1, 1, "One"),
        (3, 3, "Three"),
        (5, 2, "Two"),
        (10, 1, "Also one"),
    ]


def test_a_fence_of_code_ends_at_one_that_is_as_long():
    text = "````\n# a\n```\n# b\n~~~~\n# c\n````\n# d"
    assert headings_of(text, "markdown") == [(8, 1, "d")]


def test_headings_of_restructured_text():
    text = """\
=====
Title
=====

Part
----

text
====

Short
--

Longer than its line
-----

Next
----
"""
    assert headings_of(text, "restructuredtext") == [
        (2, 1, "Title"),
        (5, 2, "Part"),
        (8, 1, "text"),
        (17, 2, "Next"),
    ]


def test_an_underline_below_a_paragraph_makes_no_heading():
    assert headings_of("first line\nsecond\n------", "text") == []
    assert headings_of("first line\nsecond\n------", "markdown") == []


@pytest.mark.parametrize("language", ["org", "tex"])
def test_other_documents_have_no_headings(language):
    assert headings_of("Title\n=====\n\n# x", language) == []


def test_sections_are_named_by_the_headings_above():
    lines = ["before", "# A", "a", "## B", "## C", "c", "# D"]
    headings = list(find_headings(lines, "markdown"))
    assert [(s.start, s.end, s.name) for s in split_by_headings(lines, headings)] == [
        (1, 1, ""),
        (2, 3, "A"),
        (4, 4, "A > B"),
        (5, 6, "A > C"),
        (7, 7, "D"),
    ]


def test_a_line_of_up_to_twice_the_words_is_one_passage():
    assert len(list(split_into_passages("word " * 2 * MAX_WORDS, "a.txt"))) == 1
    passages = list(split_into_passages("word " * (2 * MAX_WORDS + 1), "a.txt"))
    assert [passage.id for passage in passages] == ["a.txt:1-1", "a.txt:1-1#2", "a.txt:1-1#3"]


def test_a_passage_does_not_begin_with_repeated_blank_lines():
    lines = ["word " * 150, "", "", "word " * 30, "", "word " * 150]
    spans = split_by_headings(lines, [])
    assert [(span.start, span.end) for span in spans] == [(1, 5), (4, 6)]
    lines = ["word " * 180, "", "", "word " * 150]
    spans = split_by_headings(lines, [])
    assert [(span.start, span.end) for span in spans] == [(1, 3), (4, 4)]
