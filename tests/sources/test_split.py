"""Every line of a file is in one passage, whatever the file contains."""

from __future__ import annotations

import ast
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbert_retrieval import Passage
from mbert_retrieval.sources.split import split_into_passages
from support.sources import assert_every_line_once

ROOT = Path(__file__).parents[2]


fragments = st.sampled_from(
    [
        "", "", "  ", "def f(x):", "    return 1", "class A:", "class B {", "    def g(self):",
        "        pass", "}", "  }", "function h(a) {", "int main(void)", "{", "# heading", "## two",
        "====", "----", "```", "words and words", "x" * 900, "word " * 250, "// note", "@decorator",
        "\tfoo();", "if x:", "'''", '"""', "else:", "\x0c", "end", "#ifdef X", "    x = 1",
        "async def k(): pass", "x = [", "]", "\u2028", "func (r *T) Name() {", "é中文", "\x1c",
    ]
)  # fmt: skip


texts = st.lists(fragments, max_size=120).map("\n".join)


NAMES = "a.py a.js a.c a.go a.rs a.md a.rst a.txt a.json Makefile a.zz a.groovy"
names = st.sampled_from(NAMES.split())


@settings(max_examples=300, deadline=None)
@given(texts, names)
def test_every_line_is_in_one_passage(text, name):
    assert_every_line_once(text, name)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(["def f():", "  def g():", " x", "class C:", "", "  y"])))
def test_every_line_is_in_one_passage_of_python_that_parses(lines):
    text = "\n".join(lines)
    try:
        ast.parse(text)
    except SyntaxError:
        text = "\n".join(f"{line} pass" if line.endswith(":") else line for line in lines)
    assert_every_line_once(text, "a.py")


def test_every_line_of_real_code_is_in_one_passage():
    files = [*ROOT.glob("mbert_retrieval/**/*.py"), *Path(os.__file__).parent.glob("*.py")]
    assert len(files) > 150
    for file in files[::3]:
        assert_every_line_once(file.read_text(encoding="utf-8", errors="replace"), file.name)


def test_a_passage_states_where_it_is_and_what_it_defines():
    function = '# Why.\ndef size(path: str) -> int:\n    """Return the size."""\n    return 1'
    text = f"import os\n\n{function}\n"
    assert list(split_into_passages(text, "pkg/a.py")) == [
        Passage("pkg/a.py:1-1", "import os", "", "pkg/a.py", 1, 1, metadata("module", "")),
        Passage(
            "pkg/a.py:3-6",
            function,
            "size",
            "pkg/a.py",
            3,
            6,
            metadata("function", "size")
            | {"signature": "def size(path: str) -> int", "doc": "Return the size."},
        ),
    ]


def metadata(kind: str, name: str) -> dict[str, str]:
    return {"language": "python", "kind": kind, "name": name}


def test_a_document_as_one_passage_has_its_first_heading_as_title():
    text = "\n## First\n\ntext\n\n# Second\n\n"
    assert list(split_into_passages(text, "a.md", as_one=True)) == [
        Passage(
            "a.md:2-6",
            text.strip(),
            "First",
            "a.md",
            2,
            6,
            {"language": "markdown", "kind": "document", "name": "First"},
        )
    ]


def test_of_several_headings_on_a_line_the_highest_is_the_title():
    page = "<h2>Low</h2><title>Page</title><h1>High</h1>"
    (passage,) = split_into_passages(page, "a.html", as_one=True)
    assert passage.title == "Page"


def test_a_document_without_headings_as_one_passage_has_no_title():
    (passage,) = split_into_passages("some\n\ntext\n", "a.txt", as_one=True)
    assert (passage.title, passage.start_line, passage.end_line) == ("", 1, 3)


def test_code_is_split_also_where_documents_are_not():
    text = "def f():\n    pass\n\ndef g():\n    pass\n"
    assert [p.title for p in split_into_passages(text, "a.py", as_one=True)] == ["f", "g"]


@pytest.mark.parametrize("name", ["a.md", "a.rst", "a.txt", "a.adoc", "a.org", "a.tex", "a.html"])
def test_documents_have_sections(name):
    (passage,) = split_into_passages("some text", name)
    assert passage.metadata["kind"] == "section"


def test_a_blank_file_has_no_passages():
    for name in ("a.py", "a.md", "a.html", "a.zig", "a.groovy"):
        assert list(split_into_passages("", name)) == []
        assert list(split_into_passages("\n \n\t\n", name)) == []
