"""A store made to harm: other tables, links and pipes in a segment, values of other types."""

from __future__ import annotations

import os
import sqlite3

import numpy as np
import pytest

from mbert_retrieval import InputError, Packed, Passage
from mbert_retrieval.indexes import EncoderIdentity, IndexFolder, Leg
from mbert_retrieval.indexes.trust import revoke

LEG = Leg(EncoderIdentity("toy", "00ff", "dense", 2), "flat")
ENDLESS = "WITH RECURSIVE n(a) AS (SELECT 1 UNION ALL SELECT a + 1 FROM n)"


@pytest.fixture
def index(tmp_path):
    """An index with one passage that is not trusted."""
    folder = IndexFolder.create(tmp_path / "i", legs=[LEG], lexical=True)
    with folder.writer() as writer:
        vectors = Packed.from_rows(np.ones((1, 2), np.float32))
        writer.add([Passage("a", "text", path="a.py", start_line=1)], {"dense": vectors})
        writer.commit()
    folder.close()
    revoke(folder.path, folder.manifest.index_id)
    return folder.path


def change(index, *statements):
    store = sqlite3.connect(index / "store.sqlite")
    for statement in statements:
        store.execute(statement)
    store.commit()
    store.close()


@pytest.mark.parametrize(
    "statements",
    [
        [
            "DROP TABLE meta",
            f"CREATE VIEW meta AS {ENDLESS} SELECT a name, a value, a checksum FROM n",
        ],
        ["ALTER TABLE files RENAME TO f", f"CREATE VIEW files AS {ENDLESS} SELECT a FROM n"],
        ["CREATE VIEW more AS SELECT 1"],
        ["CREATE TABLE more (a)"],
        ["CREATE TRIGGER t AFTER DELETE ON passages BEGIN DELETE FROM files; END"],
        ["CREATE VIRTUAL TABLE more USING fts5 (a)"],
        ["CREATE INDEX more ON passages (title)"],
        ["DROP TABLE lexical"],
    ],
    ids=["endless meta", "endless files", "view", "table", "trigger", "virtual", "index", "fewer"],
)
def test_other_tables_are_refused(index, statements):
    change(index, *statements)
    with pytest.raises(
        InputError, match=r"store\.sqlite.*(not those of this format|no such table)"
    ):
        IndexFolder.open(index).search_lexical(["text"], 1)


def test_a_shadow_table_of_the_lexical_index_is_no_view(index):
    store = sqlite3.connect(index / "store.sqlite")
    store.execute("PRAGMA writable_schema = ON")
    view = f"CREATE VIEW lexical_data AS {ENDLESS} SELECT a id, a block FROM n"
    store.execute(
        "UPDATE sqlite_schema SET type = 'view', rootpage = 0, sql = ? WHERE name = 'lexical_data'",
        (view,),
    )
    store.commit()
    store.close()
    with pytest.raises(InputError, match="not those of this format"):
        IndexFolder.open(index)


def test_a_writer_checks_the_tables_too(index):
    folder = IndexFolder.open(index)
    change(index, "CREATE TRIGGER t AFTER INSERT ON files BEGIN DELETE FROM passages; END")
    with pytest.raises(InputError, match="not those of this format"):
        folder.writer()
    folder.close()
    change(index, "DROP TRIGGER t")
    with folder.writer():  # the lock is free again
        pass


def test_reading_a_strangers_index_leaves_its_bytes_as_they_are(index):
    before = {file: file.read_bytes() for file in index.rglob("*") if file.is_file()}
    folder = IndexFolder.open(index)
    assert len(folder.search_lexical(["text"], 1)[0]) == 1
    folder.close()
    after = {file: file.read_bytes() for file in before}
    assert after == before


def test_an_empty_store_says_what_to_do(index):
    (index / "store.sqlite").write_bytes(b"")
    with pytest.raises(InputError, match=r"not those of this format.*--rebuild"):
        IndexFolder.open(index)


def pipe(file):
    file.unlink()
    os.mkfifo(file)


def link(file):
    file.unlink()
    file.symlink_to("/dev/zero")


@pytest.mark.parametrize("spoil", [pipe, link])
@pytest.mark.parametrize("name", ["keys.npy", "dense/vectors.npy"])
@pytest.mark.parametrize("recorded", [True, False])
def test_a_segment_with_a_link_or_pipe_is_refused(index, name, spoil, recorded, monkeypatch):
    if not recorded:  # as if the store named no file at all
        change(index, "UPDATE segments SET files = '{}'")
        monkeypatch.setattr(
            "mbert_retrieval.indexes.segment_table.checked", lambda row, _: row[:-1]
        )
    spoil(index / "segments" / "000001" / name)
    with pytest.raises(InputError, match="is a link or not a regular file"):
        IndexFolder.open(index)


@pytest.mark.parametrize("target", ["/etc", "nowhere"])
def test_a_link_with_the_name_of_the_next_segment_is_reported_and_does_not_block(index, target):
    number = sqlite3.connect(index / "store.sqlite").execute(
        "SELECT value FROM meta WHERE name = 'next_segment'"
    )
    name = f"{int(number.fetchone()[0]):06d}"
    (index / "segments" / name).symlink_to(target)
    folder = IndexFolder.open(index)
    assert folder.verify() == [f"{index / 'segments' / name} is no folder"]
    with folder.writer() as writer:
        vectors = Packed.from_rows(np.ones((1, 2), np.float32))
        writer.add([Passage("b", "more")], {"dense": vectors})
        writer.commit()
    assert folder.verify() == []
    assert len(folder) == 2


def test_a_writer_does_not_wait_for_itself_in_a_store_without_a_log(index):
    """SQLite's other journal modes lock readers out, also those of the writer's own process."""
    change(index, "PRAGMA journal_mode = DELETE")
    folder = IndexFolder.open(index)
    assert len(folder) == 1
    with pytest.raises(InputError, match=r"store\.sqlite.*journal mode is 'delete', not 'wal'"):
        folder.writer()
