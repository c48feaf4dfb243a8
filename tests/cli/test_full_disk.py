"""A full disk: no lock is left behind, and a search goes on with what there is."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys

import pytest

from mbert_retrieval import InputError, Passage
from mbert_retrieval.indexes import IndexFolder
from support.cli import run, run_here


def test_a_writer_whose_name_cannot_be_written_leaves_no_lock(tmp_path, monkeypatch):
    folder = IndexFolder.create(tmp_path / "i", legs=[], lexical=True)

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with folder.writer() as writer:  # the lock is nameless
            writer.add([Passage("a", "text")], {})
            writer.commit()
    with folder.writer():
        pass
    assert len(folder) == 1


LIMITED = """
import os, resource, signal, sys
from mbert_retrieval import InputError, Passage
from mbert_retrieval.indexes import IndexFolder
folder = IndexFolder.open(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
try:
    with folder.writer() as writer:
        writer.add([Passage("a", "text")], {})
        writer.commit()
except InputError as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
with folder.writer() as writer:
    writer.add([Passage("b", "text")], {})
    writer.commit()
print(len(folder))
"""


def test_the_same_process_writes_once_there_is_room(tmp_path):
    IndexFolder.create(tmp_path / "i", legs=[], lexical=True).close()
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, tmp_path / "i"], capture_output=True, text=True
    )
    assert done.stderr == ""
    message, count = done.stdout.splitlines()
    assert "store.sqlite" in message
    assert "disk" in message
    assert count == "1"


@pytest.fixture
def full_disk(tree, tmp_path):
    """A tree with its index on a disk without a free byte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("needs a disk of its own: no right to mount")
    for file in tree.rglob("*"):  # old enough to be known as unchanged
        os.utime(file, (1_700_000_000, 1_700_000_000))
    try:
        done = run("index", "build", tree, "--index", disk / "i", "--encoder", "none")
        assert done.returncode == 0, done.stderr
        with open(disk / "ballast", "wb", buffering=0) as ballast:
            try:
                while True:
                    ballast.write(bytes(4096))
            except OSError:
                pass
        yield tree, disk / "i"
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_query_on_a_full_disk_searches_what_there_is(full_disk):
    tree, index = full_disk
    query = ("search", "query", "retries", "--index", index, "-l")
    done = run_here(*query, cwd=tree)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "net/retry.py"
    (tree / "new.py").write_text("def new_retries(): pass\n")
    done = run_here(*query, cwd=tree)
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == "net/retry.py"
    assert done.stderr.startswith("note: ")
    assert "is the disk full" in done.stderr
    assert done.stderr.count("\n") == 1
    done = run_here("index", "update", "--index", index)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "disk" in done.stderr
    assert done.stderr.count("\n") == 1
    (index.parent / "ballast").unlink()
    done = run_here(*query, cwd=tree)
    assert (done.returncode, done.stderr) == (0, "")
    assert "new.py" in done.stdout


def test_no_lock_stays_where_the_store_cannot_be_opened(tmp_path):
    folder = IndexFolder.create(tmp_path / "i", legs=[], lexical=True)
    store = tmp_path / "i" / "store.sqlite"
    whole = store.read_bytes()
    store.write_bytes(b"")
    for _ in range(2):
        with pytest.raises(InputError, match="not those of this format"):
            folder.writer()
    store.write_bytes(whole)
    with folder.writer():
        pass
