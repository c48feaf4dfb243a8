"""Small indexes of every engine, whose commits are copied one by one."""

from __future__ import annotations

import shutil
from pathlib import Path

from mbert_retrieval.indexes import FileState, IndexFolder, Leg
from mbert_retrieval.indexes.plaid import building
from support.index_model import (
    DENSE,
    DENSE_FLAT,
    DENSE_SMALL,
    LATE,
    LATE_FLAT,
    apply_step,
    history,
    model_after,
    packed,
)

LATE_PLAID = Leg(LATE, "plaid", {"nbits": 4, "centroids": 4})
FACTORIES = [
    "HNSW8,Flat",
    "IVF2,Flat",
    "IVF2,PQ4x4",
    "SQ8",
    "HNSW8,SQfp16",
    "OPQ4,IVF2,PQ4x4,RFlat",
]
LEGS = {
    "BM25": (),
    "flat": (LATE_FLAT, DENSE_FLAT),
    "plaid": (LATE_PLAID,),
    "plaid, small, and faiss, small": (LATE_PLAID, DENSE_SMALL),
    **{f"faiss {name}": (Leg(DENSE, "faiss", {"factory": name}),) for name in FACTORIES},
}
STEPS = 9


def build_commits(path: Path, legs: str, monkeypatch) -> list[Path]:
    """An index of several segments, with tombstones, whose newest commits are in SQLite's log.
    Return it, and before it how it was after each commit before."""
    exact = 2000 if "small" in legs else 10
    monkeypatch.setattr(building, "EXACT_PASSAGES", exact)
    working = path.with_name("working")
    folder = IndexFolder.create(working, legs=LEGS[legs], lexical=True, settings={"step": 0})
    reader = IndexFolder.open(working)  # keeps the log from being emptied
    shutil.copytree(working, path / "0")
    model = model_after(0)
    with folder.writer() as writer:
        for step in range(1, STEPS + 1):
            passages, vectors, deleted = history(step, model)
            writer.add(passages, packed(folder.legs, vectors))
            if step < STEPS:
                writer.delete(deleted)
            apply_step(step, model)
            writer.set_file_state(FileState("a.py", step, step, "00"))
            writer.commit()
            if step == 5:
                writer.compact(everything=True)
            shutil.copytree(working, path / str(step))  # before the log is emptied
    reader.close()
    shutil.rmtree(working)
    return [path / str(step) for step in range(STEPS + 1)]


def outside_of(index: Path) -> dict[str, bytes]:
    files = [path for path in index.parent.rglob("*") if path.is_file()]
    return {
        str(path): path.read_bytes()
        for path in files
        if not path.is_relative_to(index) and not path.is_relative_to(index.parent / "state")
    }
