"""Nothing that an index holds controls the terminal: no text, no JSON, no file name."""

from __future__ import annotations

import re

import pytest

from mbert_retrieval import Index, Passage
from support.cli import run, run_json

HOSTILE = "\x1b[31m\x9b2J\x85\x7f\u202egpj\u2066\u2069\u200f\u2028\x07"
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
NAME = "zebra\n\x9b2Jfile\u202egpj.py"


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("hostile")
    (root / NAME).write_text(f"def zebra():\n    return '{HOSTILE}'\n")
    (root / "skipped\n\x9b2J.bin").write_bytes(b"\0\1")
    assert run("index", "build", root, "--encoder", "none").returncode == 0
    return root


QUERY = ("search", "query", "zebra")
PLAIN = [
    QUERY,
    (*QUERY, "-n"),
    (*QUERY, "-l"),
    (*QUERY, "-c"),
    (*QUERY, "--explain"),
    ("index", "info"),
    ("index", "info", "--skipped"),
]


@pytest.mark.parametrize("command", PLAIN, ids=" ".join)
def test_plain_output_controls_no_terminal(tree, command):
    done = run(*command, cwd=tree)
    assert done.returncode == 0, done.stderr
    assert not CONTROLS.search(done.stdout)


@pytest.mark.parametrize("command", [(*QUERY, "-l"), ("index", "info", "--skipped")], ids=" ".join)
def test_a_file_name_is_one_line(tree, command):
    assert run(*command, cwd=tree).stdout.count("\n") == 1


@pytest.mark.parametrize("command", [QUERY, (*QUERY, "--explain"), ("index", "info", "--skipped")])
def test_json_escapes_what_controls_a_terminal(tree, command):
    done = run(*command, "--json", cwd=tree)
    assert done.returncode == 0, done.stderr
    assert not CONTROLS.search(done.stdout)
    assert len(done.stdout.splitlines()) == 1  # also by U+0085 and U+2028


def test_json_keeps_every_character(tmp_path):
    passage = Passage("a" + HOSTILE, "zebra " + HOSTILE + " ü 漢", metadata={HOSTILE: [HOSTILE]})
    Index.build(tmp_path / "i", [passage], None)
    (hit,) = run_json(*QUERY, "--index", tmp_path / "i")
    assert (hit["id"], hit["text"], hit["metadata"]) == (
        passage.id,
        passage.text,
        passage.metadata,
    )


def test_json_leaves_other_letters_readable(tmp_path):
    Index.build(tmp_path / "i", [Passage("a", "zebra für 漢字 שלום")], None)
    assert "für 漢字 שלום" in run(*QUERY, "--json", "--index", tmp_path / "i").stdout
