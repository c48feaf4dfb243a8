"""Code without a grammar is split where functions and classes seem to begin."""

from __future__ import annotations

import textwrap

from mbert_retrieval.sources.indentation import split_by_indentation


def spans_of(text: str) -> list[tuple[int, int, str, str]]:
    lines = textwrap.dedent(text).strip("\n").split("\n")
    return [(s.start, s.end, s.kind, s.name) for s in split_by_indentation(lines)]


def test_functions_with_a_body_are_spans_and_lines_between_are_joined():
    text = """
    package a

    import b
    import c

    def first(x):
        y = x
        return y

    z = 1
    w = 2

    def second(x):
        y = x
        return y
    """
    assert spans_of(text) == [
        (1, 5, "module", ""),
        (6, 8, "function", "first"),
        (10, 12, "module", ""),
        (13, 15, "function", "second"),
    ]


def test_a_short_definition_is_joined_with_its_neighbours():
    text = """
    def first(x):
        return x

    def second(x):
        return x

    def third(x):
        y = x
        return y
    """
    assert spans_of(text) == [(1, 6, "module", ""), (7, 9, "function", "third")]


def test_comments_and_annotations_belong_to_the_definition_below():
    text = """
    // about
    x = 1

    // Adds.
    @Pure
    def add(a, b) {
      c = a + b
      return c
    }

    // apart

    def sub(a, b) {
      c = a - b
      return c
    }
    """
    assert spans_of(text) == [
        (1, 3, "module", ""),
        (4, 9, "function", "add"),
        (11, 12, "module", ""),
        (13, 16, "function", "sub"),
    ]


def test_a_line_that_closes_or_goes_on_belongs_to_the_block_above():
    text = """
    def f(a) {
      b = a
    }
    else {
      b = c
    }
    end
    x = 1
    """
    assert spans_of(text) == [(1, 7, "function", "f"), (8, 8, "module", "")]


def test_a_small_class_is_one_span():
    text = """
    class A {
      def f(x) {
        y = x
        return y
      }
    }
    """
    assert spans_of(text) == [(1, 6, "class", "A")]


def test_a_large_class_is_split_at_its_methods():
    methods = "".join(
        f"  def m{n}(x) {{\n    a = x\n    b = a\n    c = b\n    return c\n  }}\n\n"
        for n in range(8)
    )
    text = f"class A {{\n  size = 1\n\n{methods}}}\n"
    assert spans_of(text) == [
        (1, 3, "class", "A"),
        *((4 + 7 * n, 9 + 7 * n, "method", f"A.m{n}") for n in range(7)),
        (53, 60, "method", "A.m7"),
    ]


def test_definitions_of_other_shapes_have_names():
    text = """
    const add = (a, b) => {
      c = a + b
      return c
    }

    static int count(char *s) {
      n = 0
      return n
    }

    if (count(x)) {
      y = 1
      z = 2
    }
    """
    assert [(kind, name) for _, _, kind, name in spans_of(text)] == [
        ("function", "add"),
        ("function", "count"),
        ("module", ""),
    ]
