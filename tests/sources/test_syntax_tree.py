"""Code is split at its functions, methods and types."""

from __future__ import annotations

import argparse
import inspect
import textwrap
from pathlib import Path

import pytest

from mbert_retrieval.sources.line_spans import MAX_CHARACTERS, MAX_LINES
from mbert_retrieval.sources.split import split_into_passages


def test_python_functions_are_whole():
    """Python's own `inspect` says where functions and methods are."""
    text = Path(argparse.__file__).read_text()
    by_name = {}
    for passage in split_into_passages(text, "argparse.py"):
        by_name.setdefault(passage.metadata["name"], []).append(passage)
    functions = [
        member
        for owner in (argparse, *(c for _, c in inspect.getmembers(argparse, inspect.isclass)))
        for member in vars(owner).values()
        if inspect.isfunction(member) and member.__module__ == "argparse"
    ]
    whole = 0
    for function in functions:
        lines, start = inspect.getsourcelines(function)
        if len(lines) > MAX_LINES or len("".join(lines)) > MAX_CHARACTERS:
            continue
        short_class = function.__qualname__.rpartition(".")[0]
        found = by_name.get(function.__qualname__) or by_name[short_class]
        assert any("".join(lines).rstrip() in passage.text for passage in found)
        assert any(p.start_line <= start <= p.end_line for p in found)
        whole += 1
    assert whole > 100


def test_a_python_function_keeps_its_decorators_and_comment():
    text = "import a\n\n# why\n@cached\n@other(\n    1)\ndef f():\n    pass\n\nx = 1\n"
    found = [
        (p.start_line, p.end_line, p.metadata["kind"]) for p in split_into_passages(text, "m.py")
    ]
    assert found == [(1, 1, "module"), (3, 8, "function"), (10, 10, "module")]


def test_a_long_class_is_split_at_its_methods():
    methods = "".join(f"    def m{n}(self):\n        return {n}\n\n" for n in range(12))
    text = f'class C(Base):\n    """Doc."""\n\n    size = 1\n\n{methods}'
    passages = list(split_into_passages(text, "pkg/m.py"))
    assert [p.title for p in passages] == ["C", *(f"C.m{n}" for n in range(12))]
    assert [p.metadata["kind"] for p in passages] == ["class", *["method"] * 12]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        (
            "a.js",
            """
            import x from 'y';

            /** Adds. */
            export function add(a, b) {
              return a + b;
            }

            const multiply = async (a, b) => {
              return a * b;
            };
            """,
            {"add": "/** Adds. */", "multiply": "const multiply"},
        ),
        (
            "a.go",
            """
            package main

            // Read reads.
            func (r *Reader) Read(p []byte) (int, error) {
            \tif p == nil {
            \t\treturn 0, nil
            \t}
            \treturn 1, nil
            }
            func main() {
            \tprintln(1)
            }
            """,
            {"Reader.Read": "// Read reads.", "main": "func main"},
        ),
        (
            "a.c",
            """
            #include <stdio.h>

            static int
            count(const char *s)
            {
                int n = 0;
                for (; *s; s++) {
                    n++;
                }
                return n;
            }

            int main(void) {
                return count("x");
            }
            """,
            {"count": "static int\ncount(const", "main": "int main"},
        ),
        (
            "a.rs",
            """
            use std::io;

            /// Opens.
            #[inline]
            pub fn open(path: &str) -> io::Result<()> {
                Ok(())
            }

            impl Display for Thing {
                fn fmt(&self) -> u8 {
                    1
                }
            }
            """,
            {"open": "/// Opens.", "Thing": "impl Display"},
        ),
        (
            "a.java",
            """
            package a;

            public class Box<T> {
                private T value;

                @Override
                public String toString() {
                    return "box";
                }
            }
            """,
            {"Box": "public class"},
        ),
        (
            "a.rb",
            """
            require 'x'

            def self.greet(name)
              puts name
            end

            module Tools
              def help
                1
              end
            end
            """,
            {"greet": "def self", "Tools": "module Tools"},
        ),
    ],
)
def test_functions_of_other_languages_are_passages(name, text, expected):
    found = {
        p.metadata["name"]: p.text for p in split_into_passages(textwrap.dedent(text).strip(), name)
    }
    for function, beginning in expected.items():
        assert found[function].startswith(beginning)
        closes = "end" if name == "a.rb" else "}"
        assert found[function].rstrip(";").endswith(closes)


def test_a_long_class_of_another_language_is_split_inside():
    methods = "\n".join(
        f"    public int m{n}() {{\n        return {n};\n    }}\n" for n in range(15)
    )
    text = f"public class Big {{\n    private int x;\n\n{methods}}}\n"
    passages = list(split_into_passages(text, "Big.java"))
    assert [p.metadata["name"] for p in passages] == ["Big", *(f"Big.m{n}" for n in range(15))]
    assert passages[-1].text.endswith("}\n}")


@pytest.mark.parametrize(
    ("name", "opening", "held", "owner"),
    [
        ("a.js", "const api = {", "alpha(x) {\n1;\n},\nbeta: function () {\n2;\n},", "api."),
        ("a.js", "exports.x = {", "alpha: (x) => {\n1;\n},\nbeta() {\n2;\n},", "exports.x."),
        ("a.ts", "const api = Object.freeze({", "alpha() {\n1;\n},\nbeta() {\n2;\n},", "api."),
        ("a.ts", "const api = class {", "alpha() {\n1;\n}\nbeta() {\n2;\n}", "api."),
        ("a.js", "export default {", "alpha() {\n1;\n},\nbeta() {\n2;\n},", ""),
        ("a.js", "$.fn.extend({", "alpha() {\n1;\n},\nbeta() {\n2;\n},", ""),
        ("a.js", "new Vue({", "methods: {\nalpha() {\n1;\n},\nbeta() {\n2;\n},\n},", "methods."),
        ("a.zig", "const api = struct {", "fn alpha() void {\n}\npub fn beta() void {\n}", "api."),
    ],
)  # fmt: skip
def test_functions_of_objects_are_passages_like_those_of_classes(name, opening, held, owner):
    more = "\n" + "\n".join(f"// line {n}" for n in range(25))
    held = held.replace("methods: {", "methods: {" + more)
    closing = "".join({"{": "}", "(": ")"}.get(one, "") for one in reversed(opening)) + ";"
    text = f"{opening}\n{held}{more}\n{closing}\n"
    found = {p.metadata["name"]: p.text for p in split_into_passages(text, name)}
    for word, other in (("alpha", "beta"), ("beta", "alpha")):
        assert word in found[owner + word]
        assert other not in found[owner + word]


def test_calls_are_not_split_at_functions_in_them():
    """A test's body is one with the test, however many small functions it has."""
    text = "describe('x', () => {\n  const a = () => 1;\n  it('y', () => { a(); });\n});\n"
    assert [p.text for p in split_into_passages(text, "a.js")] == [text.rstrip("\n")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.py", "\n".join(" " * n + "if x:" for n in range(3000))),
        ("a.js", "a = " * 30_000 + "1"),
        ("a.js", "if (x) {\n" * 3000 + "}\n" * 3000),
        ("a.js", "(function () {\n" * 3000 + "})();\n" * 3000),
        ("a.js", "a = " + "{a:\n" * 10_000 + "1" + "}" * 10_000),
        ("a.js", "f({a:\n" * 3000 + "1" + "})" * 3000),
        ("a.rb", "f(" * 10_000 + ")" * 10_000),
        ("a.rb", "if x\n" * 3000 + "end\n" * 3000),
        ("a.el", "(" * 20_000 + ")" * 20_000),
        ("a.clj", "(do\n" * 5000 + ")" * 5000),
        ("a.c", "#if X\n" * 3000 + "#endif\n" * 3000),
        ("a.cpp", "namespace n {\n" * 3000 + "}\n" * 3000),
        ("a.java", "class A {\n" * 3000 + "}\n" * 3000),
        ("a.ex", "if x do\n" * 3000 + "end\n" * 3000),
    ],
)
def test_deeply_nested_code_is_split(name, text):
    lines = text.split("\n")
    covered = [0] * len(lines)
    for passage in split_into_passages(text, name):
        for line in range(passage.start_line - 1, passage.end_line):
            covered[line] += 1
    assert covered == [1 if line.strip() else 0 for line in lines]


def spans_of(text: str, name: str) -> list[tuple[int, int, str]]:
    return [(p.start_line, p.end_line, p.title) for p in split_into_passages(text, name)]


def class_of(lines: int) -> str:
    """A class of so many lines, with one method on the last two."""
    return "class C:\n" + "    x = 1\n" * (lines - 3) + "    def f(self):\n        pass\n"


def test_a_class_of_up_to_twenty_lines_is_one_passage():
    assert spans_of(class_of(20), "a.py") == [(1, 20, "C")]
    assert spans_of(class_of(21), "a.py") == [(1, 19, "C"), (20, 21, "C.f")]


def test_a_class_of_few_lines_but_many_characters_is_split():
    text = class_of(10).replace("x = 1", "x = " + "1" * 400)
    assert [title for _, _, title in spans_of(text, "a.py")] == ["C", "C", "C.f"]


def test_names_of_nested_classes_are_qualified():
    inner = textwrap.indent(class_of(30), "    ")
    assert spans_of(f"class A:\n    y = 1\n{inner}", "a.py") == [
        (1, 2, "A"),
        (3, 30, "A.C"),
        (31, 32, "A.C.f"),
    ]


def test_a_comment_apart_from_a_definition_does_not_belong_to_it():
    text = "# apart\n\n# above\n# it\ndef f():\n    pass\n"
    assert spans_of(text, "a.py") == [(1, 1, ""), (3, 6, "f")]


def test_a_comment_that_makes_a_definition_too_long_is_apart():
    function = "def f():\n" + "    x = 1\n" * 40
    assert spans_of("# a\n" * 9 + function, "a.py") == [(1, 50, "f")]
    assert spans_of("# a\n" * 10 + function, "a.py") == [(1, 10, ""), (11, 51, "f")]


def test_small_rules_and_keys_are_joined_up_to_twenty_lines():
    rules = "".join(f"a{n} {{ b: c }}\n" for n in range(25))
    assert spans_of(rules, "a.css") == [(1, 20, "a0"), (21, 25, "a20")]
    keys = "".join(f"k{n}: 1\n" for n in range(25))
    assert spans_of(keys, "a.yaml") == [(1, 20, "k0"), (21, 25, "k20")]


def test_a_line_that_only_closes_a_block_belongs_to_what_is_in_it():
    text = "int f(void) {\n  return 1;\n}\n}\n"
    assert spans_of(text, "a.c") == [(1, 4, "f")]


def test_a_definition_on_the_line_of_another_is_not_a_passage_of_its_own():
    assert spans_of("function a() { return 1; } function b() { return 2; }\n", "a.js") == [
        (1, 1, "a")
    ]


def test_a_node_that_ends_with_its_line_ends_there():
    assert spans_of("module m\nend module\nx = 1\n", "a.f90")[0][:2] == (1, 2)
