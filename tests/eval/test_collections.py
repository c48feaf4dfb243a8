"""Collections built from packages: what an entry is, and the same from the same packages."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from mbert_retrieval import InputError
from mbert_retrieval.eval.collections import manpages, python
from mbert_retrieval.eval.collections.build import Entry, write_collection
from mbert_retrieval.eval.datasets import read_beir

ROOT = Path(__file__).resolve().parents[2]
PAGE = """PAINT(1)          General Commands Manual          PAINT(1)

NAME
     paint, repaint - put a coat of colour on a wall

SYNOPSIS
     paint [-f] wall

DESCRIPTION
     {body}

Debian            November 2026            PAINT(1)
"""


def page(words=600, name=None):
    text = PAGE.format(body=" ".join(["brush"] * words))
    return text if name is None else text.replace("paint, repaint - put a coat", name)


def test_a_manual_page_loses_its_description_and_its_margins():
    entry = manpages.entry_of("paint.1", page())
    assert entry.query == "put a coat of colour on a wall"
    assert entry.text.startswith("SYNOPSIS\npaint [-f] wall\n\nDESCRIPTION\nbrush brush")
    assert "NAME" not in entry.text
    assert "Manual" not in entry.text
    assert "November" not in entry.text
    bold = page().replace("paint [-f]", "p\bpa\bai\bin\bnt\bt [-f]")
    assert manpages.entry_of("paint.1", bold).text == entry.text
    dashed = manpages.entry_of("paint.1", page(name="paint, re-paint \u2013 put a coat"))
    assert dashed.query == "put a coat of colour on a wall"


@pytest.mark.parametrize(
    "text",
    [
        page(words=400),
        page(words=20_100),
        page(name="paint of walls"),
        page(name="paint - ").replace(" of colour on a wall", " walls"),
        page().replace("NAME", "TITLE"),
    ],
)
def test_pages_that_are_left_out(text):
    assert manpages.entry_of("paint.1", text) is None


SOURCE = '''
class Pot:
    @property
    def colour(self):
        """Return the colour that is in the pot.

        :returns: a name
        """
        name = self.names[0]
        return name.lower()

    def short(self):
        """This one has no more than a line of code."""
        return 1

    async def stir(self, times):
        r"""Stir the pot slowly so that
        nothing settles on its ground.
        """
        for _ in range(times):
            await self.turn()

    def only(self):
        """There is nothing in here but this docstring, which is long."""

    def undocumented(self):
        a = 1
        return a

    def terse(self):
        """Do it."""
        a = 1
        return a
'''


def test_functions_lose_their_docstrings():
    entries = {entry.id: entry for entry in python.file_entries(SOURCE, "pot.py")}
    assert list(entries) == ["pot.py:4", "pot.py:16"]
    colour, stir = entries.values()
    assert colour.query == "Return the colour that is in the pot."
    assert colour.text == (
        "@property\ndef colour(self):\n    name = self.names[0]\n    return name.lower()"
    )
    assert stir.query == "Stir the pot slowly so that nothing settles on its ground."
    assert ast.get_docstring(ast.parse(stir.text).body[0]) is None
    assert "settles" not in stir.text
    assert python.file_entries("def broken(:", "x") == []


def test_a_wheel_is_read_without_its_tests_and_vendored_code(tmp_path):
    path = tmp_path / "pot-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for name in ("pot/a.py", "pot/tests/a.py", "pot/_vendor/b.py", "pot/data.txt"):
            wheel.writestr(name, SOURCE)
    assert {entry.id for entry in python.wheel_entries(path)} == {
        "pot:pot/a.py:4",
        "pot:pot/a.py:16",
    }


ENTRIES = [
    Entry("a", "one two three", "what is first"),
    Entry("b", "four five six", "what is shared"),
    Entry("c", "seven eight nine", "what is shared"),
    Entry("d", "ten. What  is\nsaid; eleven", "what is said"),
    Entry("e", "One, two THREE", "what is a twin"),
]


def test_shared_and_given_away_questions_are_not_asked(tmp_path):
    counts = write_collection(
        tmp_path / "all", ENTRIES, documents=10, queries=10, sources={"made_by": "test"}
    )
    dataset = read_beir(tmp_path / "all")
    assert counts == (4, 1)
    assert {p.id for p in dataset.passages()} == {"a", "b", "c", "d"}
    assert dataset.queries == {"q-a": "what is first"}
    assert dataset.qrels == {"q-a": {"a": 1}}
    record = json.loads((tmp_path / "all" / "collection.json").read_text())
    assert record["made_by"] == "test"
    assert record["sha256"] == dataset.checksums


def test_the_choice_depends_on_ids_alone(tmp_path):
    entries = [Entry(f"d{i}", f"text number {i}", f"question {i} here") for i in range(50)]
    for name, given in (("first", entries), ("second", entries[::-1])):
        write_collection(tmp_path / name, given, documents=20, queries=5, sources={})
    files = ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv", "collection.json")
    for file in files:
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "second" / file).read_bytes()
    less = [entry for entry in entries if entry.id != "d7"]
    write_collection(tmp_path / "third", less, documents=20, queries=5, sources={})
    before = {p.id for p in read_beir(tmp_path / "first").passages()}
    after = {p.id for p in read_beir(tmp_path / "third").passages()}
    assert len(before - after) <= 1
    with pytest.raises(InputError, match="already exists"):
        write_collection(tmp_path / "first", entries, documents=20, queries=5, sources={})
    with pytest.raises(InputError, match="contain no usable text"):
        write_collection(tmp_path / "none", ENTRIES[1:3], documents=9, queries=9, sources={})
    assert not (tmp_path / "none").exists()


def test_nano_was_not_trained_on_the_packages():
    """RESERVED in the script that gathers its training data is the list that matters."""
    source = (ROOT / "examples" / "nano" / "gather.py").read_text()
    reserved = set(re.search(r'_RESERVED = """(.*?)"""', source, re.DOTALL)[1].split())
    lines = python.REQUIREMENTS.read_text().splitlines()
    names = {line.partition("==")[0] for line in lines if not line.startswith("#")}
    assert names <= reserved
    assert all("--hash=sha256:" in line for line in lines if not line.startswith("#"))


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="packages are made with dpkg-deb")
def test_manual_pages_of_real_packages(tmp_path, monkeypatch):
    """`apt-get download` replaced by packages made here; unpacking and reading are real."""
    tree = tmp_path / "pkg"
    man = tree / "usr" / "share" / "man" / "man1"
    man.mkdir(parents=True)
    (tree / "usr" / "bin").mkdir()
    formatter = tree / "usr" / "bin" / "mandoc"
    formatter.write_text("#!/bin/sh\ncat\n")  # our pages are rendered already
    formatter.chmod(0o755)
    import gzip

    (man / "paint.1.gz").write_bytes(gzip.compress(page().encode()))
    (man / "repaint.1.gz").write_bytes(gzip.compress(b".so man1/paint.1\n"))
    (man / "other.1.gz").symlink_to("paint.1.gz")
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN" / "control").write_text(
        "Package: paint\nVersion: 1.0\nArchitecture: all\nMaintainer: n <n@n>\nDescription: x\n"
    )
    subprocess.run(["dpkg-deb", "-b", tree, tmp_path / "paint_1.0_all.deb"], check=True)

    def download(packages, folder):
        shutil.copy(tmp_path / "paint_1.0_all.deb", folder)
        return sorted(folder.glob("*.deb"))

    monkeypatch.setattr(manpages, "_download", download)
    done = []
    assert manpages.collect(tmp_path / "out", ["paint"], done.append) == (1, 1)
    assert done == [1, 2]
    assert read_beir(tmp_path / "out").queries == {"q-paint.1": "put a coat of colour on a wall"}
    record = json.loads((tmp_path / "out" / "collection.json").read_text())
    assert list(record["packages"]) == ["paint_1.0_all.deb"]


@pytest.mark.slow
def test_collections_are_built_from_the_network(tmp_path):
    for name, documents in {"python": 2000, "manpages": 1200}.items():
        command = [sys.executable, "-m", "mbert_retrieval.cli.eval", "collect", name, "--json"]
        done = subprocess.run(
            [*command, "--out", tmp_path / name], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        counts = json.loads(done.stdout)
        assert counts["documents"] >= documents
        assert 300 <= counts["queries"] <= 500
        assert len(read_beir(tmp_path / name).queries) == counts["queries"]
