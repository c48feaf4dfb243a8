"""What sources give: passages of code, prose and collections, and what they refuse."""

from __future__ import annotations

import argparse
import ast
import inspect
import json
import os
import textwrap
from pathlib import Path, PurePath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbert_retrieval import InputError, Passage
from mbert_retrieval.sources import SkippedFile, read_source, source_root
from mbert_retrieval.sources.languages import PROSE, language_of
from mbert_retrieval.sources.line_spans import MAX_CHARACTERS, MAX_LINES
from mbert_retrieval.sources.prose import MAX_WORDS
from mbert_retrieval.sources.split import split_into_passages

ROOT = Path(__file__).parents[2]


def passages_of(source: Path, **options) -> list[Passage]:
    return list(read_source(source, [], **options))


def assert_every_line_once(text: str, path: str) -> None:
    lines = text.split("\n")
    times = [0] * len(lines)
    for passage in split_into_passages(text, path):
        assert passage.start_line is not None
        assert passage.end_line is not None
        assert passage.id == f"{path}:{passage.start_line}-{passage.end_line}"
        assert passage.text == "\n".join(lines[passage.start_line - 1 : passage.end_line])
        for line in range(passage.start_line - 1, passage.end_line):
            times[line] += 1
        size = passage.end_line - passage.start_line + 1
        prose = passage.metadata["kind"] == "section"
        if prose:
            assert size == 1 or len(passage.text.split()) <= MAX_WORDS
        else:
            assert size == 1 or (size <= MAX_LINES and len(passage.text) <= MAX_CHARACTERS)
    for line, count in zip(lines, times, strict=True):
        assert count >= 1 if line.strip() else True
        assert count <= (2 if language_of(PurePath(path), lines[0]) in PROSE else 1)


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


def test_a_long_class_is_cut_at_its_methods():
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


def test_a_long_class_of_another_language_is_cut_inside():
    methods = "\n".join(
        f"    public int m{n}() {{\n        return {n};\n    }}\n" for n in range(15)
    )
    text = f"public class Big {{\n    private int x;\n\n{methods}}}\n"
    passages = list(split_into_passages(text, "Big.java"))
    assert [p.metadata["name"] for p in passages] == ["Big", *(f"Big.m{n}" for n in range(15))]
    assert passages[-1].text.endswith("}\n}")


def test_prose_is_cut_at_headings_and_paragraphs():
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


def test_a_folder_gives_its_text_and_counts_the_rest(tmp_path):
    files = {
        "a.py": b"x = 1\r\ny = 2\rz = 3\n",
        "mark.txt": "\ufeffmark".encode(),
        "wide.txt": "wide é".encode("utf-16"),
        "wider.txt": "wider é".encode("utf-32"),
        "binary.dat": b"a\0b",
        "latin.txt": b"caf\xe9",
        "large.py": b"x = 1\n" * 200_000,
        "empty.py": b"",
        "blank.py": b"\n \n",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "pipe")
    skipped: list[SkippedFile] = []
    passages = list(read_source(tmp_path, skipped))
    assert {p.id: p.text for p in passages} == {
        "a.py:1-3": "x = 1\ny = 2\nz = 3",
        "mark.txt:1-1": "mark",
        "wide.txt:1-1": "wide é",
        "wider.txt:1-1": "wider é",
    }
    reasons = {Path(file.path).name: file.reason for file in skipped}
    assert reasons == {
        "binary.dat": "binary",
        "latin.txt": "not UTF-8 text",
        "large.py": "too large (1,200,000 bytes, the limit is 1,048,576)",
        "pipe": "not a plain file",
    }


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.bin", b"a\0b", r"cannot index .*a\.bin: binary"),
        ("a.txt", b"\xff\xfeabc", "not UTF-16 text"),
        ("a.py", b"x" * ((1 << 20) + 1), "too large"),
    ],
)
def test_a_file_that_is_named_must_be_text(tmp_path, name, content, expected):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=expected):
        passages_of(tmp_path / name)


def test_what_is_not_there_is_named(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, expected in [("nope", "no such file or folder: .*nope"), ("loop", "cannot read")]:
        with pytest.raises(InputError, match=expected):
            passages_of(tmp_path / name)


def test_names_that_are_no_unicode_are_read(tmp_path):
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt"))).write_text("text")
    assert [passage.path for passage in passages_of(tmp_path)] == ["caf\ufffd.txt"]


def test_paths_are_relative_to_what_holds_all_sources(tmp_path):
    for name in ("p/src/a.py", "p/tests/b.py", "q/c.py", "q/data.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1")
    p, q = tmp_path / "p", tmp_path / "q"
    assert source_root([p]) == p
    assert source_root([p / "src", p / "tests"]) == p
    assert source_root([q / "c.py"]) == q
    assert source_root([p / "src", q / "data.jsonl"]) == p / "src"
    assert [x.path for x in passages_of(p / "src", root=p)] == ["src/a.py"]
    assert [x.path for x in passages_of(q / "c.py", root=p)] == [f"{q}/c.py"]


def test_a_beir_folder_and_a_jsonl_file_are_collections(tmp_path):
    records = [
        {"_id": "1", "title": "T", "text": "one", "metadata": {"url": "u"}, "year": 1999},
        {"id": 2, "text": ""},
        {"_id": "ü 3", "title": None, "text": "half \ud800 a character", "tags": ["\udfff"]},
    ]
    lines = "\n\n".join(json.dumps(record) for record in records)
    (tmp_path / "corpus.jsonl").write_text("\ufeff" + lines, encoding="utf-8")
    (tmp_path / "queries.jsonl").write_text("not read")
    expected = [
        Passage("1", "one", "T", metadata={"url": "u", "year": 1999}),
        Passage("2", ""),
        Passage("ü 3", "half ? a character", metadata={"tags": ["?"]}),
    ]
    assert passages_of(tmp_path) == expected
    assert passages_of(tmp_path / "corpus.jsonl") == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"_id": "x", "text": "a"', r"not JSON \(Expecting"),
        (b'["_id"]', "not a JSON object"),
        (b'{"text": "a"}', 'no "_id" and no "id"'),
        (b'{"_id": "", "text": "a"}', '"_id" must be a string or a whole number, and not empty'),
        (b'{"id": true, "text": "a"}', '"id" must be a string'),
        (b'{"_id": "x", "title": "t"}', 'no "text"'),
        (b'{"_id": "x", "text": null}', '"text" must be a string, not NoneType'),
        (b'{"_id": "x", "text": "a", "title": 1}', '"title" must be a string, not int'),
        (b'{"_id": "x", "text": "a", "n": NaN}', "NaN is not a JSON value"),
        (b'{"_id": "x", "text": "caf\xe9"}', "not UTF-8 text"),
        (b"[" * 100_000, "not JSON"),
        (b'{"_id": "doc 3", "text": "a"}', "id 'doc 3' was already on line 4"),
        (b'{"_id": "x", "text": "' + b"a" * (65 << 20), "longer than 64 MiB"),
    ],
)
def test_a_broken_line_is_named(tmp_path, line, expected):
    file = tmp_path / "c.jsonl"
    good = [json.dumps({"_id": f"doc {n}", "text": "a"}).encode() for n in range(16)]
    file.write_bytes(b"\n".join([*good, line]))
    with pytest.raises(InputError, match=expected) as raised:
        passages_of(file)
    assert f"{file}, line 17: " in str(raised.value)
    assert "\n" not in str(raised.value)
