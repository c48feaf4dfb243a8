"""`build --rebuild` replaces an index, whatever state it is in, once the new one is whole."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys

import pytest

from mbert_retrieval.indexes import IndexFolder
from support.cli import assert_refused, run_here

REBUILD = ("index", "build", ".", "--encoder", "none", "--rebuild")


@pytest.fixture
def built(tree):
    """A tree with an index of words."""
    done = run_here("index", "build", tree, "--encoder", "none")
    assert done.returncode == 0, done.stderr
    return tree


def cut(index):
    file = index / "store.sqlite"
    file.write_bytes(file.read_bytes()[:5000])


def empty(index):
    (index / "store.sqlite").write_bytes(b"")


def no_manifest(index):
    (index / "manifest.json").unlink()


def bad_manifest(index):
    (index / "manifest.json").write_text("{")


def old_version(index):
    file = index / "manifest.json"
    file.write_text(file.read_text().replace('"version": ', '"version": -'))


def linked_segments(index):
    shutil.rmtree(index / "segments")
    (index.parent / "precious").mkdir()
    (index.parent / "precious" / "000001").mkdir()
    (index / "segments").symlink_to(index.parent / "precious")


DAMAGE = [cut, empty, no_manifest, bad_manifest, old_version, linked_segments]


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_a_damaged_index_is_built_again(built, damage):
    expected = set(IndexFolder.open(built / ".mbert").content_hashes())
    damage(built / ".mbert")
    broken = run_here("index", "build", ".", "--encoder", "none", cwd=built)
    assert broken.returncode == 2
    if damage in (cut, empty, bad_manifest, old_version):
        assert "--rebuild" in broken.stderr
    done = run_here(*REBUILD, cwd=built)
    assert done.returncode == 0, done.stderr
    folder = IndexFolder.open(built / ".mbert")
    assert set(folder.content_hashes()) == expected
    assert folder.verify() == []
    assert folder.is_trusted
    assert not (built / ".mbert.rebuild").exists()
    assert (built / ".mbert" / ".gitignore").read_text() == "*\n"
    assert run_here("index", "update", cwd=built).returncode == 0
    if damage is linked_segments:
        assert (built / "precious" / "000001").is_dir()


def test_an_index_of_a_stranger_is_replaced_by_the_users_own(tree, tmp_path):
    stranger = {"XDG_STATE_HOME": str(tmp_path / "state")}
    run_here("index", "build", tree, "--encoder", "none", env=stranger)
    assert_refused(run_here("index", "build", tree, "--encoder", "none"), "--rebuild")
    assert run_here(*REBUILD, cwd=tree).returncode == 0
    assert run_here("search", "query", "retries", cwd=tree).stderr == ""


def test_files_of_the_user_stay(built):
    (built / ".mbert" / "notes").write_text("mine")
    assert run_here(*REBUILD, cwd=built).returncode == 0
    assert (built / ".mbert" / "notes").read_text() == "mine"


@pytest.mark.parametrize("what", ["folder", "file", "link"])
def test_what_is_no_index_is_not_replaced(tree, tmp_path, what):
    target = tmp_path / "target"
    if what == "folder":
        target.mkdir()
        (target / "thesis").write_text("mine")
    elif what == "file":
        target.write_text("mine")
    else:
        (tmp_path / "other").mkdir()
        target.symlink_to(tmp_path / "other")
    before = sorted(tmp_path.rglob("*"))
    done = run_here("index", "build", tree, "--index", target, "--encoder", "none", "--rebuild")
    assert_refused(done, "name")
    assert sorted(tmp_path.rglob("*")) == before


def test_without_an_index_there_is_nothing_to_replace(tree):
    assert run_here(*REBUILD, cwd=tree).returncode == 0
    assert len(IndexFolder.open(tree / ".mbert")) > 0


def test_another_writer_is_not_disturbed(built):
    with IndexFolder.open(built / ".mbert").writer():
        assert_refused(run_here(*REBUILD, cwd=built), "is being written by process")


KILLED = """
import os, signal, sys
from mbert_retrieval.indexes import replacement, writer
kill = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[1] == "exchange":
    replacement._exchange = kill
else:
    writer.Writer.commit = kill
sys.argv[1:] = sys.argv[2:]
from mbert_retrieval.cli.index import main
main()
"""


@pytest.mark.parametrize("instant", ["commit", "exchange"])
def test_a_kill_in_the_middle_leaves_the_old_index(built, instant):
    (built / "net" / "http.py").unlink()
    arguments = [sys.executable, "-c", KILLED, instant, *REBUILD[1:]]
    killed = subprocess.run(arguments, cwd=built, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    old = IndexFolder.open(built / ".mbert")
    assert old.is_trusted
    assert any("http.py" in id for id in old.content_hashes())
    assert old.verify() == []
    old.close()
    done = run_here(*REBUILD, cwd=built)
    assert done.returncode == 0, done.stderr
    assert not any("http.py" in id for id in IndexFolder.open(built / ".mbert").content_hashes())
    assert not (built / ".mbert.rebuild").exists()


def test_without_an_atomic_exchange_the_folders_are_renamed(built, monkeypatch):
    monkeypatch.setattr("ctypes.CDLL", lambda name: object())
    assert run_here(*REBUILD, cwd=built).returncode == 0
    assert sorted(name for name in os.listdir(built) if "mbert" in name) == [".mbert"]
