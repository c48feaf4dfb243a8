"""Which lines of a passage are shown."""

from __future__ import annotations

import pytest

from mbert_retrieval import Passage
from mbert_retrieval.cli.snippets import MarkedLine, answering_lines, best_window, marked_lines
from mbert_retrieval.search.query_terms import term_pattern

TEXTS = ["retry retry retry", "", "", "", "", "", "", "http", "retry", "", ""]


def lines_marked_by(texts: list[str], query: str) -> list[MarkedLine]:
    pattern = term_pattern(query)
    return [
        MarkedLine(text, [(*match.span(), 1.0) for match in pattern.finditer(text)])
        for text in texts
    ]


@pytest.mark.parametrize(
    ("texts", "query", "first"),
    [
        (TEXTS, "retry http", 6),  # two words in three lines
        (TEXTS, "absent", 0),
        (TEXTS[:2], "retry", 0),  # fewer lines than the window
    ],
)
def test_the_window_has_the_most_distinct_words(texts, query, first):
    assert best_window(lines_marked_by(texts, query), 3) == first


def test_lines_that_answer_half_as_well_as_the_best_are_shown():
    lines = lines_marked_by(["one two six ten", "one two", "ten", "none"], "one two six ten")
    assert answering_lines(lines) == [0, 1]


def test_the_first_line_is_shown_where_none_answers():
    assert answering_lines(lines_marked_by(["x", "y"], "absent")) == [0]


def test_marks_follow_their_words_through_wrapping():
    text = "filler " * 30 + "the answer"
    start = text.index("answer")
    lines = marked_lines(Passage("1", text), [(start, start + 6, 0.9)])
    marked = [line.text[start:end] for line in lines for start, end, _ in line.marks]
    assert len(lines) > 1
    assert marked == ["answer"]


def test_tabs_of_a_file_are_expanded():
    (line,) = marked_lines(Passage("1", "\treturn x", path="a.py"), [(8, 9, 0.5)])
    assert (line.text, line.marks) == ("    return x", [(11, 12, 0.5)])


def test_lines_can_be_left_as_they_are():
    (line,) = marked_lines(Passage("1", "\t" + "x" * 999), [], as_is=True)
    assert line.text == "\t" + "x" * 999
