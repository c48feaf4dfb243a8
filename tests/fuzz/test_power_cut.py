"""What was acknowledged survives a power cut at any instant, and nothing is left half-written.

A writer runs under strace; from the trace, states of the disk after a power cut are computed, and
the package opens them (`support.power_cut`). `kill -9` alone cannot show a missing fsync.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest

from mbert_retrieval import InputError
from mbert_retrieval.cli import start
from mbert_retrieval.indexes import IndexFolder, Leg
from mbert_retrieval.indexes.copying import copy_index
from mbert_retrieval.indexes.plaid import building
from support.fuzzing import chance, record, trials
from support.index_model import (
    DENSE_FLAT,
    DENSE_GRAPH,
    DENSE_SMALL,
    LATE,
    LATE_FLAT,
    apply_step,
    assert_holds,
    history,
    model_after,
    packed,
    whole_state,
)
from support.power_cut import Disk, Event, is_traceable, trace

pytestmark = [
    pytest.mark.fuzz,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not is_traceable(), reason="strace is missing, or may not trace here"),
]

STEPS = 12
LATE_PLAID = Leg(LATE, "plaid", {"nbits": 4, "centroids": 4})
LEGS = {
    "BM25": (),
    "flat": (LATE_FLAT, DENSE_FLAT),
    "faiss": (DENSE_GRAPH,),
    "plaid, faiss": (LATE_PLAID, DENSE_SMALL),
}


def acknowledge(number: int) -> None:
    if __name__ == "__main__":
        os.write(1, f"ack {number}\n".encode())


def take_steps(folder: IndexFolder, first: int, last: int) -> None:
    """Steps first..last of the scripted history, in sessions of three, with compactions."""
    model = model_after(first - 1)
    step = first
    while step <= last:
        with folder.writer() as writer:
            for _ in range(min(3, last - step + 1)):
                passages, vectors, deleted = history(step, model)
                writer.add(passages, packed(folder.legs, vectors))
                writer.delete(deleted)
                writer.set_settings({"step": step})
                writer.commit()
                acknowledge(step)
                if step % 2 == 0:
                    writer.compact(everything=step % 4 == 0)
                apply_step(step, model)
                step += 1


# Scenarios: what a writer does in the folder `root`, and what must hold after a power cut. Before
# `acknowledge(n)`, n - 1 was the last.


def write_history(root: Path, legs: str) -> None:
    path = root / "deep" / "index"
    folder = IndexFolder.create(path, legs=LEGS[legs], lexical=True, settings={"step": 0})
    acknowledge(0)
    take_steps(folder, 1, STEPS)


def check_history(root: Path, legs: str, acknowledged: int) -> str:
    path = root / "deep" / "index"
    if not (path / "manifest.json").exists():
        assert acknowledged < 0, "the index is gone"
        write_history(root, legs)  # can be made where an interrupted one is
        return "answers"
    folder = IndexFolder.open(path)
    assert folder.is_trusted, "that it was made here is forgotten"
    step = folder.settings["step"]
    assert acknowledged <= step <= acknowledged + 1
    assert_state(folder, step, legs)
    take_steps(folder, step + 1, step + 1)
    assert_state(folder, step + 1, legs)
    segments = [entry.name for entry in (path / "segments").iterdir()]
    assert len(segments) == folder.info()["segments"], "garbage"
    return "answers"


def assert_state(folder: IndexFolder, step: int, legs: str) -> None:
    assert folder.verify() == []
    if "plaid" in legs:  # whose scores are not exact
        expected = {id: passage for id, (passage, _) in model_after(step).items()}
        assert whole_state(folder) == expected
    else:
        assert_holds(folder, model_after(step))


def write_copy(root: Path, legs: str) -> None:
    """What the command line does for a new git worktree."""
    source = IndexFolder.create(root / "index", legs=LEGS[legs], lexical=True, settings={"step": 0})
    take_steps(source, 1, 3)
    copy_index(source, root / "deep" / "copy")
    acknowledge(4)


def check_copy(root: Path, legs: str, acknowledged: int) -> str:
    assert_state(IndexFolder.open(root / "index"), 3, legs)
    if not (root / "deep" / "copy" / "manifest.json").exists():
        assert acknowledged < 4, "the copy is gone"
        IndexFolder.create(root / "deep" / "copy", legs=(), lexical=True)
        return "answers"
    copy = IndexFolder.open(root / "deep" / "copy")
    assert copy.is_trusted
    assert_state(copy, 3, legs)
    return "answers"


def command(*arguments: object) -> None:
    sys.argv = ["mbert-index", *map(str, arguments)]
    with suppress(SystemExit):
        start.index()


def tree_of(root: Path, version: int) -> set[str]:
    """Write some version of the sources beside `root`. Return the ids of its passages."""
    sources = root.parent / "sources"
    shutil.rmtree(sources, ignore_errors=True)
    sources.mkdir()
    names = [f"file{number}.txt" for number in range(version, version + 6)]
    for name in names:
        (sources / name).write_text(f"version {version if name == 'file5.txt' else 0} of {name}\n")
    return {f"{name}:1-1" for name in names}


def write_commands(root: Path, legs: str) -> None:
    index = ("--index", root / "deep" / "index")
    tree_of(root, 0)
    command("build", root.parent / "sources", "--encoder", "none", *index)
    acknowledge(0)
    for version in (1, 2, 3):
        tree_of(root, version)
        command("update", *index)
        acknowledge(version)
    command("build", root.parent / "sources", "--encoder", "none", *index)
    acknowledge(4)
    command("build", root.parent / "sources", "--encoder", "none", *index, "--rebuild")
    acknowledge(5)


def check_commands(root: Path, legs: str, acknowledged: int) -> str:
    path = root / "deep" / "index"
    after = tree_of(root, min(max(acknowledged + 1, 0), 3))
    before = tree_of(root, min(acknowledged, 3)) if acknowledged >= 0 else set()
    if not (path / "manifest.json").exists():
        assert acknowledged < 0, "the index is gone"
        outcome = "answers"
    else:
        with IndexFolder.open(path).writer():  # recovers the log
            pass
        folder = IndexFolder.open(path)
        assert folder.verify() == []
        assert folder.is_trusted, "that it was made here is forgotten"
        present = set(folder.content_hashes())
        assert before & after <= present <= before | after
        outcome = "answers"
        folder.close()
    return outcome


class Scenario(NamedTuple):
    write: Callable[[Path, str], None]
    check: Callable[[Path, str, int], str]
    first: int = -1  # acknowledged when the power may first be cut


SCENARIOS = {
    "history": Scenario(write_history, check_history),
    "copy": Scenario(write_copy, check_copy, first=3),
    "commands": Scenario(write_commands, check_commands),
}
RUNS = [("history", legs) for legs in LEGS] + [("copy", "plaid, faiss"), ("commands", "BM25")]


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    monkeypatch.setenv("XDG_STATE_HOME", str(root / "state" / "local"))
    return root


def traced(root: Path, scenario: str, legs: str) -> list[Event]:
    tests = str(Path(__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": tests, "OMP_NUM_THREADS": "1"}
    line = [sys.executable, __file__, str(root), scenario, legs]
    return trace(line, root, root.parent / "strace.log", environment)


class Instants:
    """When the power may be cut: after some number of events. acknowledged: what was, by then."""

    def __init__(self, events: list[Event], first: int) -> None:
        self.acknowledged = [-1]
        for event in events:
            newest = self.acknowledged[-1]
            if event.name == "say" and event.data.startswith(b"ack "):
                newest = int(event.data.split()[1])
            self.acknowledged.append(newest)
        all_instants = range(len(self.acknowledged))
        self._all = [n for n in all_instants if self.acknowledged[n] >= first]
        # most events are writes, and most of what matters is near the others
        after = {n: events[n - 1].name for n in self._all if n}
        self._rare = [n for n, name in after.items() if name != "write"]
        self._decisive = [n for n, name in after.items() if name in ("rename", "exchange", "say")]

    def choose(self, random: Random) -> int:
        return random.choice(random.choice([self._all, self._rare, self._decisive]))


def contents(root: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(root)): None if path.is_dir() else path.read_bytes()
        for path in root.rglob("*")
        if not path.name.endswith("-shm")
    }


@pytest.mark.parametrize(("scenario", "legs"), RUNS)
def test_power_is_cut_at_any_instant(root, monkeypatch, scenario, legs):
    monkeypatch.setattr(building, "EXACT_PASSAGES", 10)
    events = traced(root, scenario, legs)
    written = contents(root)
    disk = Disk(root)
    for event in events:
        disk.happen(event)
    disk.leave(chance("", 0), "everything")
    assert contents(root) == written, "the trace misses something"
    problems = []
    instants = Instants(events, SCENARIOS[scenario].first)
    for trial in range(trials(80)):
        random = chance(f"{scenario} {legs}", trial)
        what = random.choice(["synced", "any", "any", "everything"])
        cut = instants.choose(random)
        acknowledged = instants.acknowledged[cut]
        disk = Disk(root)
        for event in events[:cut]:
            disk.happen(event)
        disk.leave(random, what)
        try:
            outcome = SCENARIOS[scenario].check(root, legs, acknowledged)
        except (AssertionError, InputError, OSError) as error:
            outcome = "lost or damaged"
            last = events[cut - 1]._replace(data=b"")
            problems.append(f"trial {trial} ({what}), after event {cut} {last}: {error}")
        record(f"power cut: {scenario}, {legs}", outcome)
    assert not problems, "\n".join([f"{len(problems)} problems", *problems[:5]])


if __name__ == "__main__":
    building.EXACT_PASSAGES = 10
    SCENARIOS[sys.argv[2]].write(Path(sys.argv[1]), sys.argv[3])
