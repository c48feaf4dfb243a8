"""An index from a stranger: links in its folder lead nowhere, and nothing outside is touched."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mbert_retrieval import InputError
from mbert_retrieval.indexes import IndexFolder
from mbert_retrieval.indexes.confined import check_inside


@pytest.fixture
def index(tmp_path):
    """An index with one passage, made by the command line; its source is beside it."""
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text("def a(): pass\n")
    cli(tmp_path, "build", "src", "--index", "index", "--encoder", "none")
    return tmp_path / "index"


def cli(folder, *arguments, tool="index"):
    command = [sys.executable, "-m", f"mbert_retrieval.cli.{tool}", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("index", ["update"]),
        ("index", ["build", "src"]),
        ("index", ["compact"]),
        ("index", ["add", "src"]),
        ("search", ["query", "a"]),
    ],
)
def test_a_linked_segments_folder_deletes_nothing_outside(index, tool, arguments):
    outside = index.parent / "home"
    for name in ("keep", "000009"):
        (outside / name).mkdir(parents=True)
        (outside / name / "file").write_text("mine")
    (index / "segments").rmdir()
    (index / "segments").symlink_to(outside)
    (index.parent / "src" / "a.py").write_text("def b(): pass\n")
    done = cli(index.parent, *arguments, "--index", "index", tool=tool)
    assert done.returncode == 2
    assert "segments" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(file.name for file in outside.rglob("*")) == ["000009", "file", "file", "keep"]


@pytest.mark.parametrize(
    "name",
    [
        "manifest.json.new",
        "writer.lock",
        "store.sqlite-wal",
        "store.sqlite-journal",
        "store.sqlite",
    ],
)
def test_a_linked_file_is_not_written_through(index, name):
    outside = index.parent / "precious"
    outside.write_text("mine")
    (index / name).unlink(missing_ok=True)
    (index / name).symlink_to(outside)
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        IndexFolder.open(index).writer()
    assert outside.read_text() == "mine"


def test_an_unfinished_index_with_a_link_is_not_finished_through_it(tmp_path):
    outside = tmp_path / "home"
    (outside / "keep").mkdir(parents=True)
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "segments").symlink_to(outside)
    with pytest.raises(InputError, match="segments"):
        IndexFolder.create(tmp_path / "index", legs=[], lexical=True)
    assert (outside / "keep").is_dir()


def test_a_folder_beside_the_segments_stays(index):
    (index / "segments" / "notes").mkdir()
    (index / "segments" / "000077").mkdir()
    with IndexFolder.open(index).writer():
        pass
    assert [folder.name for folder in (index / "segments").iterdir()] == ["notes"]


def test_a_linked_segment_is_not_removed_through(index):
    outside = index.parent / "home"
    (outside / "keep").mkdir(parents=True)
    (index / "segments" / "000077").symlink_to(outside)
    with IndexFolder.open(index).writer():
        pass
    assert (outside / "keep").is_dir()


@pytest.mark.parametrize("name", ["../file", "late/../../file", "/etc/passwd", "./late", ""])
def test_a_recorded_name_outside_the_folder_is_refused(tmp_path, name):
    (tmp_path / "segment" / "late").mkdir(parents=True)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="cannot be the name of a file"):
        check_inside(tmp_path / "segment", name)


def test_an_index_that_may_not_be_entered_is_refused_in_a_line(index):
    if os.getuid() != 0:
        pytest.skip("needs root, to give root's rights up")
    for parent in [index.parent, *index.parents]:
        if "pytest" in str(parent):
            parent.chmod(0o755)
    index.chmod(0)
    command = [sys.executable, "-c", AS_NOBODY, str(index)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("InputError cannot read")


AS_NOBODY = """
import os, sys
from mbert_retrieval.indexes import IndexFolder
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    IndexFolder.open(sys.argv[1])
except Exception as error:
    print(type(error).__name__, error)
"""
