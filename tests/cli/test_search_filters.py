"""Filters and groups, alone and together, compared with the same in plain Python."""

from __future__ import annotations

import fnmatch
import itertools
import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from mbert_retrieval import Index
from mbert_retrieval.indexes.filtering import narrowed
from support.cli import assert_refused, run, run_json

FILES = {
    "src/net/retry.py": "def retry(n):\n    return n + 10\n",
    "src/net/http.go": "func Retry(n int) int {\n\treturn n\n}\n",
    "src/retry.py/notes.txt": "retry in a folder that is named as a file\n",
    "retry.py": "# retry (it's a [test])\nx = 1\n",
    "docs/a.md": "# Retry\n\nretry once\n\n# Again\n\nRETRY twice\n\n# Off\n\nretry thrice, 10\n",
    "docs/net.md": "# Net\n\nretry with the net\n",
    "tests/net/x.sh": "retry() {\n  echo 'née ü'\n}\n",
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("filters")
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    assert run("index", "build", root, "--encoder", "none").returncode == 0
    return root


@pytest.fixture(scope="module")
def everything(tree):
    index = Index.open(tree / ".mbert")
    return index, index.search("retry", k=99)


PATTERNS = [
    r"10", r"^def", r"(?m)^x = \d$", r"(?i)RETRY\b", r"RETRY", r"n.?e ü", r"\[test\]", r"it's",
    r"thrice,\s", r"return n$", r"(?s)def.*10", r"zebra", r"",
]  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_selects_the_texts_that_match(tree, everything, pattern):
    """`^` and `$` match at lines, as in grep."""
    index, hits = everything
    filtered = index.search("retry", 99, "lexical", narrowed(None, pattern))
    regex = re.compile(pattern, re.MULTILINE)
    assert [hit.passage.id for hit in filtered] == [
        hit.passage.id for hit in hits if regex.search(hit.passage.text)
    ]
    if "(?" not in pattern and shutil.which("grep"):
        command = ["grep", "-rlE", "--exclude-dir=.mbert", "-e", pattern.replace(r"\s", " "), "."]
        environment = os.environ | {"LC_ALL": "C.UTF-8"}
        listed = subprocess.run(
            command, cwd=tree, env=environment, capture_output=True, text=True, check=False
        )
        assert {f"./{hit.passage.path}" for hit in filtered} == set(listed.stdout.splitlines())


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("retry.py", {"src/net/retry.py", "retry.py", "src/retry.py/notes.txt"}),
        ("net", {"src/net/retry.py", "src/net/http.go", "tests/net/x.sh"}),
        ("net/", {"src/net/retry.py", "src/net/http.go", "tests/net/x.sh"}),
        ("src/net", {"src/net/retry.py", "src/net/http.go"}),
        ("*.md", {"docs/a.md", "docs/net.md"}),
        ("src/*.py", {"src/net/retry.py"}),
        ("[ab].md", {"docs/a.md"}),
        ("et", set()),
        ("x.s?", {"tests/net/x.sh"}),
        ("docs/a.md", {"docs/a.md"}),
        ("/docs", set()),
        ("' OR 1=1", set()),
    ],
)
def test_a_path_selects_files_and_folders(everything, path, expected):
    index, _ = everything
    filtered = index.search("retry", 99, "lexical", narrowed(None, None, (), [path]))
    assert {hit.passage.path for hit in filtered} == expected
    if re.search(r"[*?\[]", path):
        assert expected == {
            name
            for name in FILES
            if fnmatch.fnmatchcase(name, path) or fnmatch.fnmatchcase(name, f"*/{path}")
        }


def test_filters_combine(everything):
    index, hits = everything
    for where, pattern, languages, paths in itertools.product(
        [None, "start_line = 1 OR kind = 'section'"],
        [None, "(?i)retry"],
        [(), ("Python", "markdown"), ("go",)],
        [(), ("src", "a.md")],
    ):
        expected = [
            hit.passage.id
            for hit in hits
            if (
                where is None
                or hit.passage.start_line == 1
                or hit.passage.metadata["kind"] == "section"
            )
            and (pattern is None or re.search(pattern, hit.passage.text))
            and (
                not languages or hit.passage.metadata["language"] in [x.lower() for x in languages]
            )
            and (
                not paths or hit.passage.path.startswith("src/") or hit.passage.path == "docs/a.md"
            )
        ]
        chosen = narrowed(where, pattern, languages, paths)
        filtered = index.search("retry", 99, "lexical", chosen)
        assert [hit.passage.id for hit in filtered] == expected


def test_a_group_is_a_document_with_its_best_passage(everything):
    index, hits = everything
    grouped = index.search("retry", 99, "lexical", group=True)
    best = {}
    for hit in hits:
        best.setdefault(hit.passage.path, hit.passage.id)
    assert len(best) < len(hits)
    assert [hit.passage.id for hit in grouped] == list(best.values())
    assert [hit.rank for hit in grouped] == [*range(1, len(best) + 1)]
    for k in range(1, len(best)):
        few = index.search("retry", k, "lexical", group=True)
        assert [hit.passage.id for hit in few] == list(best.values())[:k]


def test_the_passages_of_a_record_are_one_group(tmp_path):
    long = "\n\n".join(f"retry {n} " + "word " * 90 for n in range(8))
    records = [{"id": "long", "text": long}, {"id": "short", "text": "retry"}]
    (tmp_path / "r.jsonl").write_text("\n".join(map(json.dumps, records)))
    at = ("--index", tmp_path / "i")
    run_json("index", "build", tmp_path / "r.jsonl", *at, "--encoder", "none", "--cut")
    filtered = run_json("search", "query", "retry", *at, "--group")
    assert {hit["id"].partition("#")[0] for hit in filtered} == {"long", "short"}
    assert len(filtered) == 2
    assert len(run_json("search", "query", "retry", *at)) > 2


def test_the_command_combines_filters(tree):
    options = ["-e", "10", "--language", "python", "--language", "markdown", "--path", "src"]
    hits = run_json("search", "query", "retry", *options, cwd=tree)
    assert [hit["path"] for hit in hits] == ["src/net/retry.py"]


def test_the_command_groups_and_filters_by_path(tree):
    printed = run("search", "query", "retry", "--group", "-l", "--path", "*.md", cwd=tree)
    assert sorted(printed.stdout.split()) == ["docs/a.md", "docs/net.md"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["-e", "("], "cannot read the regular expression '('"),
        (["-e", "x", "--where", "nope = 1"], "no passage has a field 'nope'"),
    ],
)
def test_a_bad_filter_is_refused(tree, options, expected):
    assert_refused(run("search", "query", "retry", *options, cwd=tree), expected)


def test_a_language_that_no_passage_has_gives_no_hit(tree):
    assert run("search", "query", "retry", "--language", "cobol", cwd=tree).returncode == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [b"caf\xe9"],
        [b"retry", b"--language", b"\xff"],
        [b"retry", b"--path", b"\xff"],
        [b"retry", b"-e", b"\xff"],
        [b"retry", b"--where", b"language = '\xff'"],
        [b"retry", b"--where", b"start_line = " + b"9" * 400],
        [b"retry", b"-k", b"1" + b"0" * 30],
    ],
)
def test_what_is_no_text_or_too_large_is_refused_in_a_line(tree, arguments):
    command = [sys.executable, "-m", "mbert_retrieval.cli.search", "query", *arguments]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True)
    assert_refused(done, "error: ")


def test_closed_output_is_no_defect(tree):
    command = f"{sys.executable} -m mbert_retrieval.cli.search query retry >&-"
    done = subprocess.run(command, cwd=tree, shell=True, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
