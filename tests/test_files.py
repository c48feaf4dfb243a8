"""Files that are replaced atomically, hashed, counted, and checked for age."""

from __future__ import annotations

import hashlib
import os
import threading

import pytest

from mbert_retrieval import files
from mbert_retrieval.files import (
    bytes_in,
    is_settled,
    replacing,
    sha256_of_file,
    write_atomically,
)


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
