"""Batches, and changes beside searches, under many at once."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from mbert_retrieval import Index, Passage
from mbert_retrieval.errors import InputError
from support.serving import TEXTS, made_index

pytest.importorskip("prometheus_client")
from mbert_retrieval.serve.batching import MOST, Batcher
from mbert_retrieval.serve.limits import Overloaded
from mbert_retrieval.serve.service import Asked, Service
from mbert_retrieval.serve.writing import Writes


def test_each_question_gets_its_own_answer_in_few_batches():
    sizes: list[int] = []

    def answer(key: int, questions: list[str]) -> list[str]:
        time.sleep(0.02)
        return [f"{key} {question}" for question in questions]

    async def main() -> list[str]:
        batcher: Batcher[int, str] = Batcher(answer, observe=sizes.append)
        asked = [batcher.ask(n % 2, str(n)) for n in range(100)]
        answers = await asyncio.gather(*asked)
        await batcher.close()
        return answers

    assert asyncio.run(main()) == [f"{n % 2} {n}" for n in range(100)]
    assert sum(sizes) == 100
    assert max(sizes) <= MOST
    assert len(sizes) <= 6


def test_a_bad_question_fails_alone():
    def answer(key: None, questions: list[str]) -> list[str]:
        if "bad" in questions:
            raise InputError("bad one")
        return questions

    async def main() -> list[object]:
        batcher: Batcher[None, str] = Batcher(answer)
        asked = [batcher.ask(None, text) for text in ("first", "a", "bad", "b")]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        await batcher.close()
        return answers

    first, a, bad, b = asyncio.run(main())
    assert (first, a, b) == ("first", "a", "b")
    assert isinstance(bad, InputError)


def test_too_many_waiting_are_refused_and_closing_answers_the_rest():
    gate = threading.Event()

    def answer(key: None, questions: list[str]) -> list[str]:
        gate.wait(10)
        return questions

    async def main() -> tuple[list[object], int]:
        batcher: Batcher[None, str] = Batcher(answer, waiting=3)
        asked = [asyncio.create_task(batcher.ask(None, str(n))) for n in range(6)]
        await asyncio.sleep(0.05)
        asked[1].cancel()
        gate.set()
        await batcher.close()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        return answers, len(batcher)

    answers, waiting = asyncio.run(main())
    kinds = [type(answer) for answer in answers]
    assert kinds == [str, asyncio.CancelledError, str, str, Overloaded, Overloaded]
    assert waiting == 0


def test_a_batch_answers_as_each_alone_does(tmp_path, tiny_encoder_folder):
    index = made_index(tmp_path / "i", tiny_encoder_folder)
    questions = ["read a file", "retry", "headers", "log line", "parse the list"] * 8

    async def main() -> list[dict]:
        service = Service(index, writable=False)
        await service.start()
        asked = [service.search(question, Asked(k=3)) for question in questions]
        answers = await asyncio.gather(*asked)
        await service.close()
        return answers

    library = Index.open(index)
    for question, answer in zip(questions, asyncio.run(main()), strict=True):
        alone = library.search(question, k=3)
        assert [hit["id"] for hit in answer["hits"]] == [hit.passage.id for hit in alone]
        scores = [hit.score for hit in alone]
        assert [hit["score"] for hit in answer["hits"]] == pytest.approx(scores, abs=1e-5)


def test_searches_go_on_while_the_index_changes_under_them(tmp_path, tiny_encoder_folder):
    """Every answer is of one commit: a passage is found with the text that its commit has."""
    index = made_index(tmp_path / "i", tiny_encoder_folder)
    written: dict[int, str] = {}

    async def main() -> int:
        service = Service(index)
        await service.start()
        done = asyncio.Event()
        searched = 0

        async def search() -> None:
            nonlocal searched
            while not done.is_set():
                answer = await service.search("marker", Asked(mode="lexical", k=2))
                texts = [hit["text"] for hit in answer["hits"]]
                if answer["commit"] in written:
                    assert texts == [written[answer["commit"]]]
                searched += 1

        async def write() -> None:
            for n in range(12):
                text = f"marker {n}"
                changed = await service.add([Passage("m", text)])
                written[changed["commit"]] = text
                answer = await service.search("marker", Asked(mode="lexical"))
                assert [hit["text"] for hit in answer["hits"]] == [text]
            done.set()

        await asyncio.gather(write(), *(search() for _ in range(8)))
        await service.close()
        return searched

    assert asyncio.run(main()) > 12
    assert Index.open(index).folder.verify() == []
    assert len(Index.open(index).folder) == len(TEXTS) + 1


def test_stopping_keeps_what_a_change_has_done(tmp_path):
    index = made_index(tmp_path / "i")
    begun = threading.Event()

    def endless(library: Index, heed) -> None:
        def stream():
            for n in range(10**9):
                yield Passage(f"n{n}", "gnu")
                begun.set()

        library.add(stream(), heed)

    async def main() -> None:
        writes = Writes(index, lambda: None)
        change = asyncio.create_task(writes.change(endless))
        await asyncio.to_thread(begun.wait, 30)
        await writes.close()
        with pytest.raises(Overloaded, match="stopping"):
            await change
        with pytest.raises(Overloaded):
            await writes.delete(["n0"])

    asyncio.run(main())
    folder = Index.open(index).folder
    assert len(folder) > len(TEXTS)
    assert folder.verify() == []


def test_changes_that_wait_are_bounded(tmp_path):
    index = made_index(tmp_path / "i")
    gate = threading.Event()

    async def main() -> list[object]:
        writes = Writes(index, lambda: None)
        changes = [
            asyncio.create_task(writes.change(lambda library, heed: gate.wait(20)))
            for _ in range(40)
        ]
        await asyncio.sleep(0.1)
        gate.set()
        answers = await asyncio.gather(*changes, return_exceptions=True)
        await writes.close()
        return answers

    answers = asyncio.run(main())
    assert sum(isinstance(answer, Overloaded) for answer in answers) == 8
    assert sum(answer is True for answer in answers) == 32
