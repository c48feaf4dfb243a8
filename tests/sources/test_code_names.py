"""Name, signature and documentation of definitions, as passages state them."""

from __future__ import annotations

import pytest

from mbert_retrieval.sources.split import split_into_passages

MORE = "  # more\n" * 20  # a class or module of so many lines is split


def described(text: str, path: str) -> list[tuple[str, str, str, str]]:
    facts = [passage.metadata for passage in split_into_passages(text, path)]
    return [(f["kind"], f["name"], f.get("signature", ""), f.get("doc", "")) for f in facts]


@pytest.mark.parametrize(
    ("path", "text", "expected"),
    [
        (
            "a.py",
            "def f(\n    a,\n    b,\n) -> int:\n    r'''Doc\n    more.'''\n",
            ("function", "f", "def f( a, b, ) -> int", "Doc more."),
        ),
        (
            "a.js",
            "/**\n * Adds.\n */\nexport const add = (a, b) => {\n  return a + b;\n};\n",
            ("function", "add", "add = (a, b) =>", "Adds."),
        ),
        (
            "a.go",
            "// Read reads.\nfunc (r *Reader[T]) Read(p []byte) error {\n\treturn nil\n}\n",
            ("method", "Reader.Read", "func (r *Reader[T]) Read(p []byte) error", "Read reads."),
        ),
        (
            "a.rs",
            "impl<T> Display for Thing<T> {\n    fn fmt(&self) -> u8 { 1 }\n}\n",
            ("class", "Thing", "impl<T> Display for Thing<T>", ""),
        ),
        ("a.rs", "/// Why.\n#[test]\nfn a() {}\n", ("function", "a", "fn a()", "Why. [test]")),
        (
            "a.cpp",
            "int Tree::size() const {\n  return 1;\n}\n",
            ("method", "Tree.size", "int Tree::size() const", ""),
        ),
        (
            "a.c",
            "/* The name. */\nchar *name(void)\n{\n  return 0;\n}\n",
            ("function", "name", "char *name(void)", "The name."),
        ),
        ("a.c", "struct { int x; };\n", ("class", "", "struct", "")),
        (
            "a.java",
            "/** Doc. */\n@Entity\nclass A<T> extends B {\n  void f() {}\n}\n",
            ("class", "A", "@Entity class A<T> extends B", "Doc."),
        ),
        (
            "a.rb",
            "# Says hello.\ndef hello\n  1\nend\n",
            ("function", "hello", "def hello", "Says hello."),
        ),
        (
            "a.el",
            '(defun add (a b)\n  "Add A and B."\n  (+ a b))\n',
            ("function", "add", "(defun add (a b)", "Add A and B."),
        ),
        ("a.clj", "(defn- add [a b]\n  (+ a b))\n", ("function", "add", "(defn- add [a b]", "")),
        (
            "a.hs",
            "-- | Adds.\nadd :: Int -> Int\nadd 0 = 1\nadd n = n + 1\n",
            ("function", "add", "add 0 = 1", "Adds. add :: Int -> Int"),
        ),
        (
            "a.tf",
            'resource "aws" "x" {\n a = 1\n}\n',
            ("key", 'resource "aws" "x"', 'resource "aws" "x"', ""),
        ),
        ("a.css", "@media print { g { h: i } }\n", ("rule", "@media print", "@media print", "")),
    ],
)
def test_a_definition_is_described(path, text, expected):
    assert described(text, path) == [expected]


def test_an_initializer_of_swift_is_called_init():
    text = f"class A {{\n  init(x: Int) {{\n    y = x\n  }}\n{MORE.replace('#', '//')}}}\n"
    assert ("method", "A.init", "init(x: Int)", "") in described(text, "a.swift")


def test_attributes_of_elixir_belong_to_the_function_below():
    text = (
        'defmodule M do\n  @moduledoc "x"\n\n  @doc "Adds."\n  @spec add(int) :: int\n'
        f"  def add(0), do: 1\n  def add(n), do: n\n{MORE}end\n"
    )
    passages = list(split_into_passages(text, "a.ex"))
    assert [(p.title, p.start_line, p.end_line) for p in passages] == [
        ("M", 1, 2),
        ("M.add", 4, 7),
        ("M", 8, 28),
    ]
    assert passages[1].metadata["doc"] == '"Adds." add(int) :: int'


def test_a_long_signature_and_documentation_are_cut_off():
    text = f"def f({', '.join(f'argument{n}' for n in range(40))}):\n    '''{'word ' * 200}'''\n"
    ((_, _, signature, doc),) = described(text, "a.py")
    assert (len(signature), len(doc)) == (200, 400)
