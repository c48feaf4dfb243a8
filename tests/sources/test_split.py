"""Every line of a file is in one passage, whatever the file contains."""

from __future__ import annotations

import ast
import os
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

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


names = st.sampled_from(
    ["a.py", "a.js", "a.c", "a.go", "a.rs", "a.md", "a.rst", "a.txt", "a.json", "Makefile", "a.zz"]
)


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
