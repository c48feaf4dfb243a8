"""Manifests, records and rows with valid checksums and values that this program never writes: every
command that opens the index ends in one line and exit code 2."""

from __future__ import annotations

import json
import sqlite3

import numpy as np
import pytest

from mbert_retrieval import InputError, Packed, Passage
from mbert_retrieval.indexes import EncoderIdentity, IndexFolder, Leg
from mbert_retrieval.indexes.manifest import _checksum
from mbert_retrieval.indexes.store import row_checksum
from mbert_retrieval.search.encoders import IndexEncoders
from support.cli import run_here

LEG = Leg(EncoderIdentity("nano", "00ff", "dense", 2), "flat")
COMMANDS = [
    ("index", "info"),
    ("index", "info", "--json"),
    ("index", "verify"),
    ("index", "update"),
    ("index", "export", "out", "--force"),
    ("search", "query", "text", "--mode", "lexical", "--json"),
]
DEEP = "[" * 100_000 + "]" * 100_000


@pytest.fixture
def index(tmp_path):
    """An index with two passages."""
    folder = IndexFolder.create(tmp_path / "i", legs=[LEG], lexical=True)
    with folder.writer() as writer:
        vectors = Packed.from_rows(np.eye(2, dtype=np.float32))
        passages = [Passage("a", "text", path="a.py", start_line=1), Passage("b", "more text")]
        writer.add(passages, {"dense": vectors})
        writer.commit()
    folder.close()
    return folder.path


def assert_all_refuse(index, commands=COMMANDS, allowed=()):
    """Each command says what is wrong in one line; some may not meet the value."""
    codes = {}
    for command in commands:
        done = run_here(*command, "--index", index, cwd=index.parent)
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode in (2, *allowed), (command, done.stdout, done.stderr)
        if done.returncode == 2 and "verify" not in command:
            assert done.stderr.startswith("error: "), done.stderr
            assert done.stderr.count("\n") == 1
        codes[command] = done.returncode
    assert 2 in codes.values(), codes


def rewrite_manifest(index, change):
    file = index / "manifest.json"
    document = json.loads(file.read_text())
    change(document)
    document.pop("checksum")
    document["checksum"] = _checksum(document)
    file.write_text(json.dumps(document))


def leg(**values):
    return lambda document: document["legs"][0].update(values)


def encoder(**values):
    return lambda document: document["legs"][0]["encoder"].update(values)


MANIFESTS = {
    "unknown engine": leg(kind="annoy"),
    "engine is a list": leg(kind=["flat"]),
    "unknown setting": leg(settings={"nbits": 4}),
    "settings are a list": leg(settings=[1]),
    "other settings": leg(kind="faiss", settings={"factory": {"a": 1}}),
    "unknown kind": encoder(kind="sparse"),
    "kind is a number": encoder(kind=1),
    "dimension is text": encoder(dimension="2"),
    "dimension is huge": encoder(dimension=10**30),
    "dimension is not a number": encoder(dimension=float("nan")),
    "dimension is true": encoder(dimension=True),
    "name is a list": encoder(name=["nano"]),
    "options are a list": encoder(options=[1]),
    "unknown field": encoder(revision="main"),
    "two legs of one name": lambda document: document["legs"].append(document["legs"][0]),
    "legs are a number": lambda document: document.update(legs=3),
    "lexical is text": lambda document: document.update(lexical="yes"),
    "no id": lambda document: document.update(index_id=None),
    "created is a list": lambda document: document.update(created=[]),
    "version is not a number": lambda document: document.update(version=float("nan")),
    "version is text": lambda document: document.update(version="4"),
    "more fields": lambda document: document.update(more=1),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_hostile_manifest_is_refused(index, name):
    rewrite_manifest(index, MANIFESTS[name])
    assert_all_refuse(index)


@pytest.mark.parametrize("content", ["", "[]", "null", "3", '"x"', DEEP, "{" + " " * 2**21 + "}"])
def test_a_manifest_that_is_none_is_refused(index, content):
    (index / "manifest.json").write_text(content)
    assert_all_refuse(index)


def change_row(index, table, column, value, where="1"):
    """Change a value and the checksum of its row."""
    store = sqlite3.connect(index / "store.sqlite")
    store.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (value,))
    names = [row[1] for row in store.execute(f"PRAGMA table_info({table})")]
    if names[-1] == "checksum":
        for rowid, *row in store.execute(f"SELECT rowid, * FROM {table} WHERE {where}").fetchall():
            try:
                valid = row_checksum(*row[:-1])
            except TypeError:  # a blob has none
                continue
            store.execute(f"UPDATE {table} SET checksum = ? WHERE rowid = ?", (valid, rowid))
    store.commit()
    store.close()


SETTINGS = {
    "a list": [],
    "sources are text": {"sources": "src"},
    "sources are numbers": {"sources": [1]},
    "root is a number": {"root": 1, "sources": []},
    "selection is text": {"selection": "x", "sources": ["."], "root": "."},
    "include is a number": {"selection": {"include": 3}, "sources": ["."], "root": "."},
    "include are numbers": {"selection": {"include": [3]}, "sources": ["."], "root": "."},
    "max_bytes is text": {"selection": {"max_bytes": "1"}, "sources": ["."], "root": "."},
    "documents is a list": {"selection": {"documents": []}, "sources": ["."], "root": "."},
    "a zero byte": {"sources": ["a\0b"], "root": "."},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_hostile_settings_are_refused(index, name):
    change_row(index, "meta", "value", json.dumps(SETTINGS[name]), "name = 'settings'")
    assert_all_refuse(index, allowed=(0,))


@pytest.mark.parametrize("value", ["NaN", "{", DEEP, "1" * 5000, '{"a": 1e999}', b"\xff"])
@pytest.mark.parametrize("name", ["settings", "generation", "index_id"])
def test_a_hostile_value_of_meta_is_refused(index, name, value):
    change_row(index, "meta", "value", value, f"name = '{name}'")
    others = [c for c in COMMANDS if name != "settings" or "export" not in c]
    assert_all_refuse(index, others)


SEGMENTS = {
    ("number", -1),
    ("number", 2**62),
    ("first_key", "x"),
    ("last_key", 2**62),
    ("passages", -1),
    ("passages", 10**15),
    ("passages", "many"),
    ("vectors", "[]"),
    ("vectors", "{}"),
    ("vectors", '{"dense": "2"}'),
    ("vectors", '{"dense": 1e30}'),
    ("vectors", '{"dense": NaN}'),
    ("vectors", DEEP),
    ("files", "[]"),
    ("files", '{"keys.npy": 3}'),
    ("files", '{"keys.npy": {}}'),
    ("files", '{"keys.npy": {"bytes": "x", "sha256": 1}}'),
    ("files", b"\xff"),
}


@pytest.mark.parametrize(("column", "value"), sorted(SEGMENTS, key=repr))
def test_a_hostile_record_of_a_segment_is_refused(index, column, value):
    change_row(index, "segments", column, value)
    assert_all_refuse(index)


PASSAGES = {
    ("id", b"\xff\xfe"),
    ("path", b"a"),
    ("start_line", "one"),
    ("start_line", 1.5),
    ("start_line", -3),
    ("metadata", "[]"),
    ("metadata", "{"),
    ("metadata", '{"a": NaN}'),
    ("metadata", '{"a": 1e999}'),
    ("metadata", DEEP),
    ("metadata", '{"a": ' + "[" * 500 + "]" * 500 + "}"),
    ("metadata", '{"a": ' + "1" * 5000 + "}"),
    ("text", b"\xff"),
    ("title", b"x"),
}


@pytest.mark.parametrize(("column", "value"), sorted(PASSAGES, key=repr))
def test_a_hostile_passage_is_refused(index, column, value):
    change_row(index, "passages", column, value, "key = 1")
    commands = [c for c in COMMANDS if c[1] in ("query", "export", "verify")]
    assert_all_refuse(index, commands, allowed=(0,))


@pytest.mark.parametrize(
    ("column", "value"), [("path", b"x"), ("size", "x"), ("skipped", b"x"), ("complete", "x")]
)
def test_a_hostile_file_state_is_refused(index, column, value):
    folder = IndexFolder.open(index)
    from mbert_retrieval.indexes import FileState

    with folder.writer() as writer:
        writer.set_file_state(FileState("a.py", 1, 1, "ab", "reason"))
        writer.commit()
    folder.close()
    change_row(index, "files", column, value)
    commands = [("index", "info"), ("index", "info", "--skipped"), ("index", "verify")]
    assert_all_refuse(index, commands, allowed=(0,))


def save(index, name, array):
    """Replace an array of the segment; its size stays."""
    np.save(index / "segments" / "000001" / name, array)


@pytest.mark.parametrize("keys", [[2, 1], [1, 1], [1, 99], [-5, 2], [0, 2]])
def test_keys_that_do_not_increase_are_refused(index, keys):
    save(index, "keys.npy", np.array(keys, np.int64))
    with pytest.raises(InputError, match="damaged"):
        IndexFolder.open(index).search_vectors(Packed.from_rows(np.ones((1, 2), np.float32)), 2)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vectors_that_are_no_numbers_are_refused(index, value):
    save(index, "dense/vectors.npy", np.full((2, 2), value, np.float32))
    with pytest.raises(InputError, match="damaged"):
        IndexFolder.open(index).search_vectors(Packed.from_rows(np.ones((1, 2), np.float32)), 2)


def test_a_tombstone_outside_its_segment_is_refused(index):
    change_row(index, "segments", "last_key", 50)
    store = sqlite3.connect(index / "store.sqlite")
    store.execute("INSERT INTO tombstones VALUES (40, '')")
    store.commit()
    store.close()
    with pytest.raises(InputError, match="damaged"):
        IndexFolder.open(index)


def test_ids_in_a_faiss_file_are_checked(tmp_path):
    faiss = pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((300, 8)).astype(np.float32)
    identity = EncoderIdentity("nano", "00ff", "dense", 8)
    folder = IndexFolder.create(
        tmp_path / "i", legs=[Leg(identity, "faiss", {"factory": "IVF4,Flat"})], lexical=False
    )
    with folder.writer() as writer:
        passages = [Passage(str(n), "x") for n in range(300)]
        writer.add(passages, {"dense": Packed.from_rows(rows)})
        writer.commit()
    folder.close()
    file = tmp_path / "i" / "segments" / "000001" / "dense" / "index.faiss"
    index = faiss.read_index(str(file))
    lists = index.invlists
    for number in range(index.nlist):
        ids = np.full(lists.list_size(number), 10**12, np.int64)
        lists.update_entries(number, 0, len(ids), faiss.swig_ptr(ids), lists.get_codes(number))
    faiss.write_index(index, str(file))
    with pytest.raises(InputError, match=r"damaged"):
        IndexFolder.open(tmp_path / "i").search_vectors(Packed.from_rows(rows[:1]), 5)


@pytest.mark.parametrize(
    "options",
    [{"truncate": "x"}, {"pool_factor": float("nan")}, {"document_length": 10**30}, {"device": 1}],
)
def test_hostile_options_of_an_encoder_are_refused(index, options):
    rewrite_manifest(index, encoder(options=options))
    with pytest.raises(InputError):
        IndexEncoders(IndexFolder.open(index)).query_encoder("dense")
