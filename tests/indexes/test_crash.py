"""One writer, many readers, and a writer killed at any instant."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from mbert_retrieval import InputError
from mbert_retrieval.indexes import IndexFolder
from support.index_model import (
    DENSE_GRAPH,
    LATE_FLAT,
    Model,
    apply_step,
    assert_holds,
    history,
    model_after,
    packed,
)

# python test_indexes_crash.py write INDEX LAST: takes the scripted steps that are left, one commit
#   each, and prints the number of each when its commit has returned
# python test_indexes_crash.py read INDEX LAST: checks what it sees until it has seen step LAST


def write(path: str, last: int) -> None:
    folder = IndexFolder.open(path)
    step = folder.settings["step"]
    model = model_after(step)
    with folder.writer() as writer:
        print("ready", flush=True)
        while step < last:
            step += 1
            passages, vectors, deleted = history(step, model)
            writer.add(passages, packed(folder.legs, vectors))
            writer.delete(deleted)
            writer.set_settings({"step": step})
            writer.commit()
            print(step, flush=True)
            if step % 3 == 0:
                writer.compact(everything=step % 6 == 0)
            apply_step(step, model)


def read(path: str, last: int) -> None:
    folder = IndexFolder.open(path)
    model: Model = {}
    step = 0
    print("ready", flush=True)
    while step < last:
        seen = folder.settings["step"]
        assert seen >= step, "a reader went back in time"
        for next_step in range(step + 1, seen + 1):
            apply_step(next_step, model)
        step = seen
        assert_holds(folder, model)
        folder.refresh()


def child(mode: str, path: Path, last: int) -> subprocess.Popen:
    command = [sys.executable, __file__, mode, str(path), str(last)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


LEGS = (LATE_FLAT, DENSE_GRAPH)


@pytest.fixture
def index(tmp_path) -> Path:
    path = tmp_path / "index"
    IndexFolder.create(path, legs=LEGS, lexical=True, settings={"step": 0}).close()
    return path


def kill_and_check(path: Path, trials: int, seed: int) -> None:
    """Each trial goes on from what the killed writer before it left."""
    chance = random.Random(seed)
    for _ in range(trials):
        writer = child("write", path, 10**9)
        assert writer.stdout is not None
        # some commits first, so that writers get somewhere on a busy machine too
        lines = [writer.stdout.readline() for _ in range(chance.randrange(4))]
        time.sleep(chance.uniform(0, 0.1))
        writer.send_signal(signal.SIGKILL)
        acknowledged = [int(line) for line in [*lines, *writer.stdout.read().split()]]
        writer.wait()
        folder = IndexFolder.open(path)
        step = folder.settings["step"]
        if acknowledged:  # a commit that returned survives; of the next, all or nothing
            assert step in (acknowledged[-1], acknowledged[-1] + 1)
        assert_holds(folder, model_after(step))
        assert folder.verify() == []
        folder.close()
    assert step > trials  # the writers did get somewhere


def test_a_killed_writer_leaves_the_old_index_or_the_new(index):
    kill_and_check(index, trials=12, seed=1)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_killed_writer_leaves_the_old_index_or_the_new_often(index):
    kill_and_check(index, trials=200, seed=2)


# functions of the writer's module and of SQLite's transaction, in the order in which a commit
# comes to them; the writer dies before or after the call
INSTANTS = [
    ("SegmentWriter.append", "after"),
    ("SegmentWriter.finish", "before"),
    ("SegmentWriter.finish", "after"),
    ("unregister_dead_segments", "after"),
    ("merge_segments", "before"),
    ("merge_segments", "after"),
    ("remove_unnamed", "before"),
    ("remove_unnamed", "after"),
]

DIE = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from mbert_retrieval.indexes import writer
from mbert_retrieval import Packed, Passage
from mbert_retrieval.indexes import IndexFolder
import numpy as np
folder = IndexFolder.open({path!r})
with folder.writer() as open_writer:
    *owner, name = {name!r}.split(".")
    owner = getattr(writer, owner[0]) if owner else writer
    real = getattr(owner, name)
    def dying(*arguments):
        if {when!r} == "after":
            real(*arguments)
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(owner, name, dying)
    ids = list(folder.content_hashes())
    rows = Packed.from_rows(np.ones((len(ids), 8), np.float32))
    vectors = {{leg: rows for leg in folder.legs}}
    if name == "merge_segments":
        open_writer.compact(everything=True)
    # replaces every passage, so that all older segments die
    open_writer.add([Passage(id, "everywhere anew") for id in ids], vectors)
    open_writer.commit()
"""


@pytest.mark.parametrize(("name", "when"), INSTANTS)
def test_death_at_a_chosen_instant(index, name, when):
    write(str(index), 5)
    program = DIE.format(
        tests=str(Path(__file__).parents[1]), path=str(index), name=name, when=when
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")
    folder = IndexFolder.open(index)
    assert folder.verify() == []
    if name == "remove_unnamed":  # past the commit
        assert folder.info()["segments"] == 1
        assert {passage.text for passage in folder.passages(list(model_after(5)))} == {
            "everywhere anew"
        }
    else:
        assert_holds(folder, model_after(5))
    with folder.writer():
        pass  # the next writer takes the lock and clears the garbage away
    assert len(list((index / "segments").iterdir())) == folder.info()["segments"]
    folder.close()


def test_readers_see_whole_commits_while_a_writer_works(index):
    readers = [child("read", index, 30) for _ in range(8)]
    held = IndexFolder.open(index)
    writer = child("write", index, 30)
    assert writer.wait() == 0
    assert_holds(held, {})
    assert [reader.wait() for reader in readers] == [0] * 8
    held.refresh()
    assert_holds(held, model_after(30))
    assert held.verify() == []


def test_threads_of_one_process_search_while_it_writes(index):
    write(str(index), 3)
    folder = IndexFolder.open(index)
    expected = folder.search_lexical(["everywhere"], k=100)
    problems = []
    stop = threading.Event()

    def search() -> None:
        while not stop.is_set():
            if folder.search_lexical(["everywhere"], k=100) != expected:
                problems.append("changed")

    threads = [threading.Thread(target=search) for _ in range(3)]
    for thread in threads:
        thread.start()
    write(str(index), 20)
    stop.set()
    for thread in threads:
        thread.join()
    assert problems == []
    folder.refresh()
    assert_holds(folder, model_after(20))


def test_a_second_writer_is_told_who_holds_the_lock(index):
    folder = IndexFolder.open(index)
    with folder.writer(), pytest.raises(InputError, match=f"written by process {os.getpid()} on "):
        IndexFolder.open(index).writer()
    folder.writer().close()  # free again
    other = child("write", index, 10**9)
    try:
        with pytest.raises(InputError, match=f"process {other.pid} on .* since 20"):
            folder.writer()
    finally:
        other.kill()
        other.wait()
    folder.refresh()
    before = folder.settings
    with folder.writer() as writer:  # what a killed holder held is free
        writer.set_settings({**before, "mine": True})
        writer.commit()
    assert folder.settings == {**before, "mine": True}


def test_a_failure_half_way_drops_everything_uncommitted(index, monkeypatch):
    write(str(index), 3)
    folder = IndexFolder.open(index)
    model = model_after(3)
    passages, vectors, _ = history(4, model)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    with folder.writer() as writer:
        writer.add(passages, packed(folder.legs, vectors))
        with monkeypatch.context() as patch:
            patch.setattr("mbert_retrieval.indexes.segments.SegmentWriter.append", full)
            with pytest.raises(InputError, match=r"cannot write to .*: No space left"):
                writer.add(passages, packed(folder.legs, vectors))
        with pytest.raises(InputError, match="an earlier change failed"):
            writer.commit()
    assert_holds(folder, model)
    assert folder.verify() == []
    write(str(index), 6)
    folder.refresh()
    assert_holds(folder, model_after(6))


FULL = """
import resource, signal, sys
sys.path.insert(0, {tests!r})
from support.index_model import history, model_after, packed
from mbert_retrieval import InputError
from mbert_retrieval.indexes import IndexFolder
folder = IndexFolder.open({path!r})
passages, vectors, deleted = history(9, model_after(8))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
with folder.writer() as writer:
    resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
    try:
        if {compact}:
            writer.compact(everything=True)
        writer.add(passages, packed(folder.legs, vectors))
        writer.delete(deleted)
        writer.commit()
        print("committed")
    except InputError as error:
        print(error)
"""


@pytest.mark.parametrize("compact", [False, True])
def test_files_that_cannot_grow_lose_nothing(index, compact):
    """As on a full disk, at whichever file the limit is met first."""
    write(str(index), 8)
    said = set()
    for limit in (100, 300, 700, 1500, 4000, 20_000):
        program = FULL.format(
            tests=str(Path(__file__).parents[1]), path=str(index), limit=limit, compact=compact
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        assert (done.returncode, done.stderr, done.stdout.count("\n")) == (0, "", 1)
        assert str(index) in done.stdout, done.stdout
        said.add(done.stdout)
        folder = IndexFolder.open(index)
        assert_holds(folder, model_after(8))
        assert folder.verify() == []
        with folder.writer():
            pass  # the next writer clears what the failed one left
        assert len(list((index / "segments").iterdir())) == folder.info()["segments"]
        folder.close()
    assert len(said) > 1
    write(str(index), 9)
    assert_holds(IndexFolder.open(index), model_after(9))


if __name__ == "__main__":
    {"write": write, "read": read}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
