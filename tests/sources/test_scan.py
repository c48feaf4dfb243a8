"""A scan lists files, collections and skipped files by the path that passages state."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mbert_retrieval import InputError
from mbert_retrieval.sources import Selection
from mbert_retrieval.sources.scan import SourceFile, scan


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x = 1\n")


def test_files_have_their_size_and_time(tmp_path):
    write(tmp_path, "pkg/a.py")
    file = tmp_path / "pkg/a.py"
    os.utime(file, ns=(5, 7_000_000_001))
    assert scan([tmp_path], tmp_path).files == {
        "pkg/a.py": SourceFile(str(file), 6, 7_000_000_001, explicit=False)
    }


def test_a_file_that_is_itself_a_source_is_explicit(tmp_path):
    write(tmp_path, "a.py", "pkg/b.py")
    tree = scan([tmp_path / "a.py", tmp_path / "pkg"], tmp_path)
    assert {path: file.explicit for path, file in tree.files.items()} == {
        "a.py": True,
        "pkg/b.py": False,
    }


def test_a_file_is_explicit_also_when_its_folder_is_a_source(tmp_path):
    write(tmp_path, "a.py", "b.py")
    tree = scan([tmp_path / "a.py", tmp_path], tmp_path)
    assert {path: file.explicit for path, file in tree.files.items()} == {
        "a.py": True,
        "b.py": False,
    }
    assert tree.skipped == {}


def test_collections_are_apart_from_files(tmp_path):
    write(tmp_path, "beir/corpus.jsonl", "beir/notes.md", "code/a.py", "c.NDJSON")
    tree = scan([tmp_path / "beir", tmp_path / "c.NDJSON", tmp_path / "code"], tmp_path)
    assert list(tree.collections) == ["beir/corpus.jsonl", "c.NDJSON"]
    assert list(tree.files) == ["code/a.py"]


def test_files_outside_the_root_have_full_paths(tmp_path):
    write(tmp_path, "a/x.py", "b/y.py")
    assert list(scan([tmp_path / "b"], tmp_path / "a").files) == [f"{tmp_path}/b/y.py"]


def test_an_index_is_no_source(tmp_path):
    write(tmp_path, "manifest.json", "store.sqlite")
    with pytest.raises(InputError, match="is an index"):
        scan([tmp_path], tmp_path)


def test_the_second_of_two_names_that_look_the_same_is_skipped(tmp_path):
    for byte in (b"\xe8", b"\xe9"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf" + byte + b".txt")).write_text("text")
    tree = scan([tmp_path], tmp_path)
    assert list(tree.files) == ["caf\ufffd.txt"]
    assert tree.skipped == {"caf\ufffd.txt (another)": "its name looks like another's"}


def test_reasons_are_by_path(tmp_path):
    write(tmp_path, "pkg/a.py")
    os.mkfifo(tmp_path / "pkg/pipe")
    (tmp_path / "pkg/link").symlink_to("a.py")
    assert scan([tmp_path / "pkg"], tmp_path).skipped == {
        "pkg/pipe": "not a plain file",
        "pkg/link": "symbolic link",
    }


def test_a_selection_judges_paths_below_its_source(tmp_path):
    write(tmp_path, "pkg/a/x.py", "pkg/b/x.py", "pkg/a/y.md")
    selection = Selection(include=("/a/",), exclude=("a/*.md",))
    assert list(scan([tmp_path / "pkg"], tmp_path, selection).files) == ["pkg/a/x.py"]
