"""Changes beside searches."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from mbert_retrieval import Index, Passage
from support.serving import TEXTS, made_index

pytest.importorskip("prometheus_client")
from mbert_retrieval.serve.limits import Overloaded
from mbert_retrieval.serve.service import SearchRequest, Service
from mbert_retrieval.serve.writing import MAX_CHANGES, WriteQueue


def test_each_answer_is_of_one_commit_while_the_index_changes(tmp_path, tiny_encoder_folder):
    index = made_index(tmp_path / "i", tiny_encoder_folder)
    written: dict[int, str] = {}

    async def main() -> int:
        service = Service(index)
        await service.start()
        done = asyncio.Event()
        compared = 0

        async def search() -> None:
            nonlocal compared
            while not done.is_set():
                answer = await service.search("marker", SearchRequest(mode="lexical", k=2))
                texts = [hit["text"] for hit in answer["hits"]]
                if answer["commit"] in written:
                    assert texts == [written[answer["commit"]]]
                    compared += 1

        async def write() -> None:
            for n in range(12):
                text = f"marker {n}"
                changed = await service.add([Passage("m", text)])
                written[changed["commit"]] = text
                answer = await service.search("marker", SearchRequest(mode="lexical"))
                assert [hit["text"] for hit in answer["hits"]] == [text]
            done.set()

        await asyncio.gather(write(), *(search() for _ in range(8)))
        await service.close()
        return compared

    assert asyncio.run(main()) > 12
    assert Index.open(index).folder.verify() == []
    assert len(Index.open(index)) == len(TEXTS) + 1


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """An index after `close` in the middle of a long change: (path, the change's error)."""
    index = made_index(tmp_path_factory.mktemp("stopped") / "i")
    begun = threading.Event()

    def add_many(library: Index, progress) -> None:
        def stream() -> Iterator[Passage]:
            for n in range(30_000):
                yield Passage(f"n{n}", "gnu")
                begun.set()

        library.add(stream(), progress)

    async def main() -> BaseException | None:
        writes = WriteQueue(index, lambda: None)
        change = asyncio.create_task(writes.run(add_many))
        await asyncio.to_thread(begun.wait, 30)
        await writes.close()
        await asyncio.wait([change])
        return change.exception()

    return index, asyncio.run(main())


def test_stopping_interrupts_the_change_that_runs(stopped):
    _, error = stopped
    assert isinstance(error, Overloaded)
    assert "the service is stopping" in str(error)


def test_an_interrupted_change_keeps_what_it_has_done(stopped):
    folder = Index.open(stopped[0]).folder
    assert len(folder) > len(TEXTS)
    assert folder.verify() == []


def test_a_closed_queue_takes_no_changes(tmp_path):
    index = made_index(tmp_path / "i")

    async def main() -> None:
        writes = WriteQueue(index, lambda: None)
        await writes.close()
        with pytest.raises(Overloaded):
            await writes.delete(["io/log.py:1-3"])

    asyncio.run(main())
    assert len(Index.open(index)) == len(TEXTS)


def submit_blocked(index, gate: threading.Event, *rounds: int, cancel: bool = False) -> list:
    """Submit changes that wait for `gate`, in rounds; `cancel`: the clients of each round leave.

    Returns the results or errors of the last round.
    """

    async def main() -> list[object]:
        writes = WriteQueue(index, lambda: None)
        for count in rounds:
            changes = [
                asyncio.create_task(writes.run(lambda library, progress: gate.wait(20)))
                for _ in range(count)
            ]
            await asyncio.sleep(0.1)
            if cancel and count != rounds[-1]:
                for change in changes:
                    change.cancel()
                await asyncio.sleep(0.1)
        gate.set()
        answers = await asyncio.gather(*changes, return_exceptions=True)
        await writes.close()
        return answers

    return asyncio.run(main())


def test_changes_that_wait_are_bounded(tmp_path):
    answers = submit_blocked(made_index(tmp_path / "i"), threading.Event(), MAX_CHANGES + 8)
    assert [answer is True for answer in answers] == [True] * MAX_CHANGES + [False] * 8
    assert all(isinstance(answer, Overloaded) for answer in answers[MAX_CHANGES:])


def test_a_change_whose_client_left_still_counts(tmp_path):
    index = made_index(tmp_path / "i")
    (answer,) = submit_blocked(index, threading.Event(), MAX_CHANGES, 1, cancel=True)
    assert isinstance(answer, Overloaded)


def test_changes_run_again_after_the_queue_was_full(tmp_path):
    index = made_index(tmp_path / "i")

    async def main() -> int:
        writes = WriteQueue(index, lambda: None)
        for _ in range(MAX_CHANGES + 1):
            await writes.run(lambda library, progress: None)
        deleted = await writes.delete(["io/log.py:1-3"])
        await writes.close()
        return deleted

    assert asyncio.run(main()) == 1
