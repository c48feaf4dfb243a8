"""The limits of passages of code, and where a longer span is split."""

from __future__ import annotations

import pytest

from mbert_retrieval.sources.line_spans import (
    MAX_CHARACTERS,
    MAX_LINES,
    LineSpan,
    exceeds_limits,
    fit_to_limits,
    split_span,
)


def test_as_many_lines_as_the_limit_are_one_passage():
    lines = ["x"] * (MAX_LINES + 1)
    assert not exceeds_limits(lines, 1, MAX_LINES)
    assert exceeds_limits(lines, 1, MAX_LINES + 1)


def test_as_many_characters_as_the_limit_are_one_passage():
    half = MAX_CHARACTERS // 2 - 1  # and the end of the line
    assert not exceeds_limits(["x" * half, "x" * half], 1, 2)
    assert exceeds_limits(["x" * half, "x" * (half + 1)], 1, 2)


def test_a_single_line_is_never_too_long():
    assert not exceeds_limits(["x" * MAX_CHARACTERS * 2], 1, 1)


def body(changes: dict[int, str], count: int = 60) -> list[str]:
    return [changes.get(number, "    x = 1") for number in range(1, count + 1)]


@pytest.mark.parametrize(
    ("changes", "begins"),
    [
        ({}, 51),  # nothing to prefer: as late as possible
        ({40: "y = 1"}, 40),  # the line that is indented least
        ({40: "y = 1", 45: "z = 1"}, 45),  # the last of several
        ({39: "", 40: "y = 1", 45: "z = 1"}, 40),  # rather after a blank line
        ({39: "", 45: "z = 1"}, 45),  # but indentation counts more
        ({10: "y = 1"}, 51),  # not in the first half
        ({51: ""}, 50),  # not at a blank line
    ],
)
def test_a_long_span_is_split_at_the_best_line(changes, begins):
    assert list(split_span(body(changes), 1, 60)) == [(1, begins - 1), (begins, 60)]


def test_pieces_keep_kind_and_name_and_lose_blank_lines_around_them():
    lines = ["", *body({39: "", 40: "y = 1"}), "", " "]
    span = LineSpan(1, len(lines), "function", "f", "f()", "Doc.")
    assert list(fit_to_limits(lines, [span])) == [
        LineSpan(2, 39, "function", "f", "f()", "Doc."),
        LineSpan(41, 61, "function", "f", "f()", "Doc."),
    ]
