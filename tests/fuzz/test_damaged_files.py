"""Bytes of every file of every engine are damaged: right answers, or one clear error."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from mbert_retrieval.indexes import IndexFolder, Leg
from mbert_retrieval.indexes.plaid import building
from mbert_retrieval.indexes.writer import FileState
from support.fuzzing import chance, record, trials
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
from support.index_trial import FAILED, REFUSED
from support.trial_process import Outcome, TrialProcess

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(7200)]

LATE_PLAID = Leg(LATE, "plaid", {"nbits": 4, "centroids": 4})
FACTORIES = ["HNSW8,Flat", "IVF2,Flat", "IVF2,PQ4x4", "SQ8", "HNSW8,SQfp16", "OPQ4,IVF2,PQ4x4,RFlat"]
LEGS = {
    "BM25": (),
    "flat": (LATE_FLAT, DENSE_FLAT),
    "plaid": (LATE_PLAID,),
    "plaid, small, and faiss, small": (LATE_PLAID, DENSE_SMALL),
    **{f"faiss {name}": (Leg(DENSE, "faiss", {"factory": name}),) for name in FACTORIES},
}
STEPS = 9
WORDS = (0, 1, 2, 127, 128, 255, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)


@pytest.fixture(scope="module")
def process() -> Iterator[TrialProcess]:
    with TrialProcess(["support.index_trial", "mbert_retrieval.native.kernels", "faiss"]) as process:
        yield process


def build(path: Path, legs: str, monkeypatch) -> list[Path]:
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


def damage(index: Path, random: Random) -> str:
    """Damage one file. Return what was done."""
    files = sorted(path for path in index.rglob("*") if path.is_file())
    file = random.choice(files)
    name = file.relative_to(index)
    content = bytearray(file.read_bytes())
    kind = random.choice(KINDS)
    if kind in ("bits", "bytes", "word", "range") and not content:
        kind = "extend"
    if kind == "bits":
        for _ in range(random.choice([1, 1, 2, 8])):
            content[_position(random, len(content))] ^= 1 << random.randrange(8)
    elif kind == "bytes":
        for _ in range(random.choice([1, 3, 16])):
            content[_position(random, len(content))] = random.choice([0, 1, 0x7F, 0x80, 0xFF])
    elif kind == "word":
        size = random.choice([2, 4, 8])
        start = _position(random, len(content)) // size * size
        value = random.choice(WORDS) % 2 ** (8 * size)
        content[start : start + size] = value.to_bytes(size, random.choice(["little", "big"]))
    elif kind == "range":
        start = _position(random, len(content))
        size = min(random.randint(1, 600), len(content) - start)
        filling = random.choice([bytes(size), b"\xff" * size, random.randbytes(size)])
        content[start : start + size] = filling
    elif kind == "cut":
        del content[random.randint(0, len(content)) :]
    elif kind == "extend":
        content += random.choice([random.randbytes, bytes])(random.choice([1, 8, 4096]))
    elif kind == "other file":
        content = bytearray(random.choice(files).read_bytes())
    elif kind == "remove":
        file.unlink()
        return f"{name}: removed"
    elif kind in ("folder", "link", "pipe"):
        file.unlink()
        if kind == "folder":
            file.mkdir()
        elif kind == "pipe":
            os.mkfifo(file)
        else:
            file.symlink_to(index.parent / "outside" / "file")
        return f"{name}: now a {kind}"
    file.unlink()
    file.write_bytes(content)
    return f"{name}: {kind}"


KINDS = ["bits"] * 6 + ["bytes"] * 4 + ["word"] * 6 + ["range"] * 4 + ["cut"] * 2
KINDS += ["extend", "other file", "remove", "folder", "link", "pipe"]


def _position(random: Random, size: int) -> int:
    """Headers matter more than the rest."""
    return random.randrange(min(size, random.choice([16, 128, 1024, size, size])) or 1)


def judge(outcome: Outcome, expected: list[dict], what: str = "") -> tuple[str, str]:
    """Return the outcome's name for the table, and what is wrong with it, if anything is.

    expected: results after each commit. A log that is damaged ends at the damage, for SQLite as
    after a power cut, so that an earlier commit is the newest.
    """
    if outcome.kind != "returned":
        return outcome.kind, f"{outcome.kind}: {outcome.value}"
    results = outcome.value
    if failed := {name: said for name, (kind, said) in results.items() if kind == FAILED}:
        return "traceback", str(failed)
    if any(kind == REFUSED for kind, _ in results.values()):
        return "refused", ""
    if results in expected[-1:]:
        return "right answers", ""
    if results in expected and what.startswith("store.sqlite-wal"):
        return "an earlier commit", ""
    wrong = [name for name, result in expected[-1].items() if results[name] != result]
    return "wrong answer", f"wrong answers that verify does not notice: {wrong}"


def outside_of(index: Path) -> dict[str, bytes]:
    files = [path for path in index.parent.rglob("*") if path.is_file()]
    return {
        str(path): path.read_bytes()
        for path in files
        if not path.is_relative_to(index) and not path.is_relative_to(index.parent / "state")
    }


@pytest.fixture
def area(tmp_path, monkeypatch) -> Path:
    """A folder with an index to be, and files beside it that nothing may touch."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("not of the index")
    return tmp_path


@pytest.mark.parametrize("legs", LEGS)
def test_damaged_bytes(area, process, monkeypatch, legs):
    index = area / "index"
    expected = []
    for commit in build(area / "commits", legs, monkeypatch):
        shutil.rmtree(index, ignore_errors=True)
        shutil.copytree(commit, index)
        outcome = process.run("support.index_trial:use", str(index))
        assert outcome.kind == "returned", outcome
        refused = {name: said for name, (kind, said) in outcome.value.items() if kind != "ok"}
        assert not refused
        expected.append(outcome.value)
    before = outside_of(index)
    problems = []
    for trial in range(trials(100)):
        shutil.rmtree(index)
        shutil.copytree(commit, index)
        what = damage(index, chance(f"damage {legs}", trial))
        outcome = process.run("support.index_trial:use", str(index))
        name, problem = judge(outcome, expected, what)
        assert outside_of(index) == before, f"trial {trial} ({what}) wrote outside"
        record(f"files: {legs}", name)
        if problem:
            problems.append(f"trial {trial} ({what}): {problem}")
    assert not problems, "\n".join([f"{len(problems)} problems", *problems])
