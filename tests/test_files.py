"""Files that are replaced atomically, hashed, counted, and checked for age."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from mbert_retrieval import Packed, Passage, files
from mbert_retrieval.files import (
    bytes_in,
    is_settled,
    make_folder,
    replacing,
    sha256_of_file,
    write_atomically,
)
from mbert_retrieval.indexes import IndexFolder
from mbert_retrieval.indexes.copying import copy_index
from support.index_model import DENSE_FLAT


def test_content_is_replaced(tmp_path):
    write_atomically(tmp_path / "a", b"old")
    write_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


def test_nothing_else_is_left_in_the_folder(tmp_path):
    write_atomically(tmp_path / "a", b"new")
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


def test_a_failure_keeps_the_old_content_and_leaves_nothing(tmp_path):
    write_atomically(tmp_path / "a", b"old")

    def fail() -> None:
        with replacing(tmp_path / "a") as file:
            file.write(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {"a": b"old"}


def test_the_old_content_stays_until_the_end(tmp_path):
    write_atomically(tmp_path / "a", b"old")
    with replacing(tmp_path / "a") as file:
        file.write(b"new")
        file.flush()
        assert (tmp_path / "a").read_bytes() == b"old"


def test_a_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "outside").write_bytes(b"mine")
    (tmp_path / "a").symlink_to(tmp_path / "outside")
    write_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "outside").read_bytes() == b"mine"


def test_a_link_under_the_name_of_the_new_file_is_not_followed(tmp_path):
    (tmp_path / "outside").write_bytes(b"mine")
    name = f"a.{os.getpid()}-{threading.get_ident()}.new"
    (tmp_path / name).symlink_to(tmp_path / "outside")
    write_atomically(tmp_path / "a", b"new")
    assert (tmp_path / "outside").read_bytes() == b"mine"
    assert (tmp_path / "a").read_bytes() == b"new"


def test_bytes_reach_the_disk_before_the_name_does(tmp_path, monkeypatch):
    calls = []
    real = os.replace
    monkeypatch.setattr(files.os, "fsync", lambda descriptor: calls.append("fsync"))
    monkeypatch.setattr(files.os, "replace", lambda *paths: (calls.append("rename"), real(*paths)))
    write_atomically(tmp_path / "a", b"new")
    assert calls == ["fsync", "rename", "fsync"]


def test_threads_that_write_the_same_file_do_not_mix(tmp_path):
    contents = [bytes([n]) * 100_000 for n in range(8)]
    threads = [
        threading.Thread(target=write_atomically, args=(tmp_path / "a", content))
        for content in contents
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "a").read_bytes() in contents


def test_sha256_is_that_of_the_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"bytes")
    assert sha256_of_file(tmp_path / "a") == hashlib.sha256(b"bytes").hexdigest()


def test_bytes_in_counts_hard_links_once(tmp_path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a").write_bytes(b"12345")
    os.link(tmp_path / "inner" / "a", tmp_path / "b")
    (tmp_path / "c").write_bytes(b"678")
    assert bytes_in(tmp_path) == 8


@pytest.mark.parametrize(("age_ns", "settled"), [(2_000_000_001, True), (2_000_000_000, False)])
def test_a_file_is_settled_after_two_seconds(monkeypatch, age_ns, settled):
    monkeypatch.setattr(files.time, "time_ns", lambda: 10**18)
    assert is_settled(10**18 - age_ns) is settled


@pytest.fixture
def synced(monkeypatch) -> list[str]:
    """The paths that were forced to the disk, in order."""
    paths = []
    fsync = os.fsync

    def recording(descriptor: int) -> None:
        paths.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", recording)
    return paths


def test_the_names_of_new_folders_are_forced_to_the_disk(tmp_path, synced):
    make_folder(tmp_path / "a" / "b" / "c")
    assert sorted(synced) == [str(tmp_path / name) for name in ("", "a", "a/b")]
    synced.clear()
    make_folder(tmp_path / "a" / "b" / "c", exist_ok=True)
    assert synced == []


def test_a_relative_folder_is_made(tmp_path, synced, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_folder(Path("a/b"), mode=0o700)
    assert sorted(synced) == [str(tmp_path), str(tmp_path / "a")]
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_a_folder_that_exists_is_refused(tmp_path):
    with pytest.raises(FileExistsError):
        make_folder(tmp_path)


def test_a_copy_of_an_index_is_on_the_disk_before_its_manifest(tmp_path, synced):
    source = IndexFolder.create(tmp_path / "source", legs=[DENSE_FLAT], lexical=True)
    with source.writer() as writer:
        rows = Packed.from_rows(np.ones((1, 8), np.float32))
        writer.add([Passage("a", "text")], {"dense": rows})
        writer.commit()
    synced.clear()
    copy = tmp_path / "deep" / "copy"
    copy_index(source, copy)
    before = synced[: [path.startswith(f"{copy}/manifest.json") for path in synced].index(True)]
    folders = [path for path in copy.rglob("*") if path.is_dir()]
    assert len(folders) == 3
    assert {str(path) for path in [tmp_path, copy.parent, *folders]} <= set(before)
