"""What goes in comes out; bad input and damage are refused with one line, and nothing is lost."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbert_retrieval import InputError, Packed, Passage
from mbert_retrieval.indexes import FileState, IndexFolder, Leg
from mbert_retrieval.indexes.manifest import VERSION
from support.index_model import (
    DENSE,
    DENSE_GRAPH,
    DENSE_SMALL,
    DIMENSION,
    LATE,
    LATE_FLAT,
    apply_step,
    assert_holds,
    history,
    packed,
    whole_state,
)


def vectors(count: int) -> Packed:
    rng = np.random.default_rng(count)
    return Packed.from_rows(rng.standard_normal((count, DIMENSION)).astype(np.float32))


def build(path, legs=(LATE_FLAT,), steps=4):
    """An index after some steps of the scripted history, and what it should hold."""
    folder = IndexFolder.create(path, legs=legs, lexical=True)
    model = {}
    with folder.writer() as writer:
        for step in range(1, steps + 1):
            passages, rows, deleted = history(step, model)
            writer.add(passages, packed(folder.legs, rows))
            writer.delete(deleted)
            writer.commit()
            apply_step(step, model)
    return folder, model


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
lines = st.none() | st.integers(0, 2**40)
passages = st.builds(
    Passage,
    id=text,
    text=text,
    title=text,
    path=st.none() | text,
    start_line=lines,
    end_line=lines,
    metadata=st.dictionaries(
        text,
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | text,
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
            max_leaves=5,
        ).filter(lambda value: "Infinity" not in json.dumps(value)),
        max_size=3,
    ),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(passages, unique_by=lambda passage: passage.id, max_size=6))
def test_passages_round_trip(tmp_path_factory, given_passages):
    path = tmp_path_factory.mktemp("store") / "index"
    folder = IndexFolder.create(path, legs=[], lexical=True)
    with folder.writer() as writer:
        writer.add(given_passages, {})
        writer.commit()
    folder.close()
    folder = IndexFolder.open(path)
    assert whole_state(folder) == {passage.id: passage for passage in given_passages}
    assert folder.content_hashes() == {
        passage.id: hashlib.sha256(passage.content.encode()).hexdigest()
        for passage in given_passages
    }
    assert folder.verify() == []
    folder.close()


def test_description_round_trips(tmp_path):
    settings = {"sources": ["a", {"b": None}]}
    IndexFolder.create(tmp_path / "i", legs=[LATE_FLAT], lexical=False, settings=settings)
    folder = IndexFolder.open(tmp_path / "i")
    assert (folder.legs, folder.lexical) == ({"late": LATE_FLAT}, False)
    assert folder.settings == settings
    with folder.writer() as writer:
        writer.set_settings({"sources": []})
        writer.commit()
    assert IndexFolder.open(tmp_path / "i").settings == {"sources": []}
    info = json.loads(json.dumps(folder.info()))
    assert (info["passages"], info["legs"]["late"]["kind"]) == (0, "flat")
    assert info["legs"]["late"]["encoder"] == asdict(LATE)


def test_file_states_are_kept_with_their_commit(tmp_path):
    folder = IndexFolder.create(tmp_path / "i", legs=[], lexical=True)
    state = FileState("src/ü.py", 10, 1_700_000_000_123_456_789, "ab")
    with folder.writer() as writer:
        writer.set_file_state(state)
        writer.set_file_state(FileState("gone.py", 1, 1, "cd"))
        writer.forget_file("gone.py")
        with pytest.raises(InputError, match=r"the path of a file .*lone surrogate"):
            writer.set_file_state(FileState("not-utf8-\udcff.py", 1, 1, "ab"))
        writer.commit()
        writer.set_file_state(FileState("never.py", 1, 1, "ef"))
    assert IndexFolder.open(tmp_path / "i").file_states() == {"src/ü.py": state}


@pytest.mark.parametrize(
    ("legs", "lexical", "message"),
    [
        ([], False, "needs vectors or a lexical part"),
        ([Leg(LATE, "plaidd")], True, "unknown index kind"),
        ([Leg(LATE, "faiss")], True, "one vector per passage"),
        ([Leg(DENSE, "plaid")], True, "many vectors per passage"),
        ([Leg(replace(LATE, dimension=0), "flat")], True, "positive dimension"),
        ([Leg(replace(LATE, kind="both"), "flat")], True, "'dense' or 'late'"),
        ([LATE_FLAT, LATE_FLAT], True, "takes one late encoder, not 2"),
        ([Leg(LATE, "flat", {"nbits": 2})], True, "has no nbits to set"),
        ([Leg(DENSE, "faiss", {"nbits": 2})], True, "has no nbits to set"),
        ([Leg(DENSE, "faiss", {"factory": "magic"})], True, "FAISS has no index 'magic'"),
        ([Leg(DENSE, "faiss", {"factory": "NSG8"})], True, "cannot search 'NSG8' under a filter"),
        ([Leg(DENSE, "faiss", {"factory": "IVF4,PQ3"})], True, "FAISS has no index 'IVF4,PQ3'"),
    ],
)
def test_parts_that_do_not_fit_are_refused(tmp_path, legs, lexical, message):
    with pytest.raises(InputError, match=message) as refusal:
        IndexFolder.create(tmp_path / "i", legs=legs, lexical=lexical)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "i").exists()


def test_create_does_not_touch_what_is_there(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"not empty .*notes\.txt"):
        IndexFolder.create(tmp_path, legs=[LATE_FLAT], lexical=True)
    with pytest.raises(InputError, match="cannot make the index"):
        IndexFolder.create(tmp_path / "notes.txt", legs=[LATE_FLAT], lexical=True)
    assert (tmp_path / "notes.txt").read_text() == "mine"
    folder, model = build(tmp_path / "i")
    with pytest.raises(InputError, match="is an index already"):
        IndexFolder.create(tmp_path / "i", legs=[LATE_FLAT], lexical=True)
    assert_holds(folder, model)


def test_a_cut_off_create_is_done_again(tmp_path):
    build(tmp_path / "i")[0].close()
    (tmp_path / "i" / "manifest.json").unlink()  # it is written last
    with pytest.raises(InputError, match="not an index"):
        IndexFolder.open(tmp_path / "i")
    folder = IndexFolder.create(tmp_path / "i", legs=[LATE_FLAT], lexical=True)
    assert len(folder) == 0
    assert folder.verify() == []


NAN = Packed.from_rows(np.array([[0.0] * 7 + [np.nan], [1.0] * 8], np.float32))
BIG = Packed.from_rows(np.full((1, 8), 1e300))
P, Q = Passage("p1", "new text"), Passage("new", "text")
ONE = vectors(1)
BAD_ADDS = [
    ([P, P], vectors(2), "two passages have the id 'p1'"),
    ([Q], vectors(2), "1 passages came with the vectors of 2"),
    ([P, Q], ONE, "2 passages came with the vectors of 1"),
    ([Q], None, "needs late vectors of encoder 'toy'"),
    ([P, Q], NAN, "passage 'p1' has a vector with NaN"),
    ([Q], BIG, "passage 'new' has a vector with NaN or infinite"),
    ([Q], Packed.from_rows(np.ones((1, 9), np.float32)), "dimension 8"),
    ([Q], Packed(np.ones(8, np.float32), np.arange(9)).select([0]), "dimension 8"),
    ([Q], Packed.from_rows(np.ones((1, 8), np.int32)), "floating-point"),
    ([P, Q], Packed(np.ones((2, 8), np.float32), np.array([0, 2, 2])), "'new' has no vectors"),
    ([P, replace(Q, id="a\ud800b")], vectors(2), "lone surrogate"),
    ([P, replace(Q, text="\udfff")], vectors(2), "text of passage 'new' .*lone surrogate"),
    ([P, replace(Q, metadata={"x": "\udfff"})], vectors(2), "metadata .*lone surrogate"),
    ([P, replace(Q, metadata={"x": float("nan")})], vectors(2), "metadata .* not JSON"),
    ([P, replace(Q, metadata={"x": object()})], vectors(2), "metadata .* not JSON"),
    ([P, replace(Q, metadata=[1])], vectors(2), "must be a dictionary"),
    ([P, replace(Q, id=3)], vectors(2), "must be text"),
    ([P, replace(Q, start_line=2**70)], vectors(2), "must be a line number"),
    ([P, replace(Q, start_line=1.5)], vectors(2), "must be a line number"),
]


@pytest.mark.parametrize(("passages", "vectors", "message"), BAD_ADDS)
def test_a_bad_add_changes_nothing(tmp_path, passages, vectors, message):
    folder, model = build(tmp_path / "i")
    with folder.writer() as writer:
        good = Passage("before", "everywhere")
        writer.add([good], {"late": ONE})
        with pytest.raises(InputError, match=message) as refusal:
            writer.add(passages, {} if vectors is None else {"late": vectors})
        assert "\n" not in str(refusal.value)
        writer.commit()  # what came before the mistake is still good
    model["before"] = (good, ONE[0])
    assert_holds(folder, model)
    assert folder.verify() == []


def test_two_vectors_do_not_fit_a_dense_index(tmp_path):
    folder = IndexFolder.create(tmp_path / "i", legs=[DENSE_SMALL], lexical=True)
    with folder.writer() as writer, pytest.raises(InputError, match="'new' has 2 vectors"):
        writer.add([Q], {"dense": Packed(np.ones((2, 8), np.float32), np.array([0, 2]))})


def test_vectors_do_not_fit_a_lexical_index(tmp_path):
    folder = IndexFolder.create(tmp_path / "i", legs=[], lexical=True)
    with folder.writer() as writer, pytest.raises(InputError, match="has no dense vectors"):
        writer.add([Q], {"dense": ONE})
    with pytest.raises(InputError, match="has no vectors"):
        folder.search_vectors(ONE, k=1)


def test_a_missing_leg_says_so(tmp_path):
    folder = IndexFolder.create(tmp_path / "i", legs=[LATE_FLAT], lexical=False)
    with pytest.raises(InputError, match="without a lexical part"):
        folder.search_lexical(["x"], k=1)


def test_deleting_or_asking_for_what_is_not_there(tmp_path):
    folder, model = build(tmp_path / "i")
    present = sorted(model)
    with folder.writer() as writer:
        for unknown in ("nobody", "a\ud800b"):
            with pytest.raises(InputError):
                writer.delete([present[0], unknown])
        writer.commit()
    assert_holds(folder, model)
    with pytest.raises(InputError, match="'nobody'"):
        folder.passages([present[0], "nobody"])


def test_not_an_index(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        IndexFolder.open(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"has no manifest\.json"):
        IndexFolder.open(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="not an index"):
        IndexFolder.open(tmp_path / "file")


def test_another_format_is_refused(tmp_path):
    build(tmp_path / "i")[0].close()
    manifest = tmp_path / "i" / "manifest.json"
    whole = json.loads(manifest.read_text())
    for version, advice in ((VERSION + 1, "upgrade"), (VERSION - 1, "build the index again")):
        manifest.write_text(json.dumps(whole | {"version": version}))
        with pytest.raises(InputError, match=f"format version {version} .* {advice}"):
            IndexFolder.open(tmp_path / "i")


def test_files_of_two_indexes_do_not_mix(tmp_path):
    for name in ("i", "j"):
        build(tmp_path / name)[0].close()
    os.replace(tmp_path / "i" / "manifest.json", tmp_path / "j" / "manifest.json")
    with pytest.raises(InputError, match="of another index"):
        IndexFolder.open(tmp_path / "j")


def test_a_writer_removes_nothing_for_the_sake_of_a_foreign_store(tmp_path):
    """Segments that the store does not name are garbage only if the store is the right one."""
    folder, _ = build(tmp_path / "i")
    folder.close()
    IndexFolder.create(tmp_path / "j", legs=[LATE_FLAT], lexical=True).close()
    before = sorted((tmp_path / "i" / "segments").rglob("*"))
    os.replace(tmp_path / "j" / "store.sqlite", tmp_path / "i" / "store.sqlite")
    with pytest.raises(InputError, match="of another index"):
        folder.writer()
    assert sorted((tmp_path / "i" / "segments").rglob("*")) == before != []


def complaints(path) -> str:
    """What opening, or else verifying, an index says."""
    try:
        folder = IndexFolder.open(path)
    except InputError as error:
        return str(error)
    problems = folder.verify()
    folder.close()
    return "; ".join(problems)


BOTH = (LATE_FLAT, DENSE_GRAPH)
FILES = [
    ("manifest.json", BOTH),
    ("store.sqlite", BOTH),
    ("segments/000004/keys.npy", BOTH),
    ("segments/000004/lengths.npy", BOTH),
    ("segments/000004/late/offsets.npy", BOTH),
    ("segments/000004/late/vectors.npy", BOTH),
    ("segments/000004/dense/index.faiss", BOTH),
    ("segments/000004/dense/factory.txt", BOTH),
    ("segments/000004/dense/vectors.npy", (DENSE_SMALL,)),
]


PLAID_FILES = ["buckets", "centroids", "codes", "cutoffs", "list_bounds", "lists", "offsets"]
PLAID_FILES += ["residuals", "scale"]
FILES += [(f"segments/000004/late/{name}.npy", (Leg(LATE, "plaid"),)) for name in PLAID_FILES]
FILES += [("segments/000004/late/codec.json", (Leg(LATE, "plaid"),))]


@pytest.mark.parametrize(("name", "legs"), FILES)
def test_damage_is_reported_with_the_file(tmp_path, name, legs, monkeypatch):
    monkeypatch.setattr("mbert_retrieval.indexes.plaid.building.EXACT_PASSAGES", 1)
    build(tmp_path / "i", legs)[0].close()
    assert complaints(tmp_path / "i") == ""
    file = tmp_path / "i" / name
    whole = file.read_bytes()
    rng = np.random.default_rng(5)
    if name == "store.sqlite":  # elsewhere there are bytes that mean nothing
        places = [
            whole.index(needle) + 1 for needle in (b"everywhere", b'{"step"', b"late/vectors")
        ]
        places += [whole.index(b"next_key") + 9, whole.index(b"step4")]
    else:
        places = [0, len(whole) - 1, *rng.integers(0, len(whole), 12)]
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 1
        file.write_bytes(changed)
        assert name in complaints(tmp_path / "i"), f"byte {place} of {name}"
    for length in (0, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:length])
        assert name in complaints(tmp_path / "i"), f"{name} cut to {length}"
    file.unlink()
    assert name in complaints(tmp_path / "i"), f"{name} missing"
    file.write_bytes(whole)
    assert complaints(tmp_path / "i") == ""


def test_a_damaged_lexical_index_is_found(tmp_path):
    """FTS5 keeps its words in pages of its own; take one entry out behind its back."""
    build(tmp_path / "i")[0].close()
    store = sqlite3.connect(tmp_path / "i" / "store.sqlite")
    key, content = store.execute("SELECT key, text FROM passages LIMIT 1").fetchone()
    store.execute(
        "INSERT INTO lexical (lexical, rowid, content) VALUES ('delete', ?, ?)",
        (key, content.replace("everywhere", "")),
    )
    store.commit()
    store.close()
    assert "the words of the lexical index" in complaints(tmp_path / "i")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("DELETE FROM passages WHERE key = (SELECT max(key) FROM passages)", "are unknown"),
        ("DELETE FROM tombstones", "are unknown"),
        ("INSERT INTO tombstones SELECT max(key), '' FROM passages", "marked as deleted"),
        ("DELETE FROM segments WHERE number = 4", "have no vectors"),
        ("UPDATE passages SET start_line = 3", "is not what was written"),
        ("ALTER TABLE files RENAME COLUMN size TO bytes", "are not those of this format"),
        ("UPDATE meta SET value = '1' WHERE name = 'next_key'", "'next_key' is not what was"),
    ],
)
def test_references_are_followed(tmp_path, change, complaint):
    build(tmp_path / "i")[0].close()
    store = sqlite3.connect(tmp_path / "i" / "store.sqlite")
    store.execute(change)
    store.commit()
    store.close()
    assert complaint in complaints(tmp_path / "i")


READ_ONLY = """
import mmap, os, sys
from mbert_retrieval import InputError
from mbert_retrieval.indexes import IndexFolder
if os.geteuid() == 0:
    os.setuid(65534)
folder = IndexFolder.open(sys.argv[1])
print(len(folder), len(folder.search_lexical(["everywhere"], k=100)[0]), folder.verify())
try:
    folder.writer()
except InputError as error:
    print(error)
"""


CUT_OFF = """
import os, signal, sys
from mbert_retrieval.indexes import IndexFolder
folder = IndexFolder.open(sys.argv[1])
if sys.argv[2] == "writer":
    writer = folder.writer()
    writer.set_settings({"late": True})
    writer.commit()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("cut_off", ["nobody", "reader", "writer"])
def test_a_folder_that_cannot_be_written_is_read(tmp_path, cut_off):
    folder, model = build(tmp_path / "i")
    folder.close()
    assert not (tmp_path / "i" / "store.sqlite-wal").exists()
    if cut_off != "nobody":
        subprocess.run([sys.executable, "-c", CUT_OFF, tmp_path / "i", cut_off])
        # as a copy made without SQLite's shared memory would be
        (tmp_path / "i" / "store.sqlite-shm").unlink()
    for parent in [tmp_path, *tmp_path.parents]:
        if "pytest" in str(parent):
            parent.chmod(0o755)
    for file in [tmp_path / "i", *(tmp_path / "i").rglob("*")]:
        file.chmod(0o555 if file.is_dir() else 0o444)
    try:
        done = subprocess.run(
            [sys.executable, "-c", READ_ONLY, tmp_path / "i"], capture_output=True, text=True
        )
    finally:
        for file in [tmp_path / "i", *(tmp_path / "i").rglob("*")]:
            file.chmod(0o755)
    if cut_off == "writer":  # its last commit is in a log that only a writer can take over
        assert "InputError: the index" in done.stderr
        assert "its last writer was cut off" in done.stderr
        assert IndexFolder.open(tmp_path / "i").settings == {"late": True}
        return
    assert done.stderr == ""
    first, second = done.stdout.splitlines()
    assert first == f"{len(model)} {len(model)} []"
    assert "cannot write to the index" in second


def test_indexes_import_neither_torch_nor_encoders():
    program = (
        "import sys, mbert_retrieval.indexes\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('torch', 'transformers',"
        " 'sentence_transformers') or name.startswith(('mbert_retrieval.encoders',"
        " 'mbert_retrieval.backbone'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
