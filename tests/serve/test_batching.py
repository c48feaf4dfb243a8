"""Batches of searches."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from mbert_retrieval import Index
from mbert_retrieval.errors import InputError
from support.serving import made_index

pytest.importorskip("prometheus_client")
from mbert_retrieval.serve.batching import MAX_BATCH, Batcher
from mbert_retrieval.serve.limits import Overloaded
from mbert_retrieval.serve.service import SearchRequest, Service


@pytest.fixture(scope="module")
def hundred():
    """100 queries with two keys by turns: (the answers, the batches as (key, queries))."""
    batches: list[tuple[int, list[str]]] = []

    def run_batch(key: int, queries: list[str]) -> list[str]:
        time.sleep(0.02)
        batches.append((key, queries))
        return [f"{key} {query}" for query in queries]

    async def main() -> list[str]:
        batcher: Batcher[int, str] = Batcher(run_batch)
        answers = await asyncio.gather(*(batcher.submit(n % 2, str(n)) for n in range(100)))
        await batcher.close()
        return answers

    return asyncio.run(main()), batches


def test_each_query_gets_its_own_answer(hundred):
    answers, _ = hundred
    assert answers == [f"{n % 2} {n}" for n in range(100)]


def test_each_query_runs_once(hundred):
    _, batches = hundred
    ran = [query for _, queries in batches for query in queries]
    assert sorted(ran, key=int) == [str(n) for n in range(100)]


def test_a_batch_has_queries_of_one_key(hundred):
    _, batches = hundred
    assert all(int(query) % 2 == key for key, queries in batches for query in queries)


def test_a_batch_takes_all_that_wait_up_to_its_limit(hundred):
    _, batches = hundred
    assert max(len(queries) for _, queries in batches) == MAX_BATCH
    assert len(batches) <= 6


def test_queries_of_one_key_run_in_order(hundred):
    _, batches = hundred
    for key in (0, 1):
        ran = [int(query) for of, queries in batches for query in queries if of == key]
        assert ran == sorted(ran)


def test_the_oldest_query_decides_which_key_is_next():
    gate = threading.Event()
    keys: list[str] = []

    def run_batch(key: str, queries: list[str]) -> list[str]:
        gate.wait(10)
        keys.append(key)
        return queries

    async def main() -> None:
        batcher: Batcher[str, str] = Batcher(run_batch)
        waiting = [asyncio.create_task(batcher.submit(key, key)) for key in "abcab"]
        await asyncio.sleep(0.05)
        gate.set()
        await asyncio.gather(*waiting)
        await batcher.close()

    asyncio.run(main())
    assert keys == ["a", "b", "c", "a"]


def test_the_size_of_each_batch_is_observed():
    sizes: list[int] = []

    async def main() -> None:
        batcher: Batcher[None, str] = Batcher(lambda key, queries: queries, observe=sizes.append)
        await asyncio.gather(*(batcher.submit(None, str(n)) for n in range(5)))
        await batcher.close()

    asyncio.run(main())
    assert sizes == [1, 4]


def test_a_bad_query_fails_alone():
    def run_batch(key: None, queries: list[str]) -> list[str]:
        if "bad" in queries:
            raise InputError("bad one")
        return queries

    async def main() -> list[object]:
        batcher: Batcher[None, str] = Batcher(run_batch)
        waiting = [batcher.submit(None, query) for query in ("first", "a", "bad", "b")]
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        await batcher.close()
        return answers

    first, a, bad, b = asyncio.run(main())
    assert (first, a, b) == ("first", "a", "b")
    assert isinstance(bad, InputError)


@pytest.fixture(scope="module")
def six_where_three_may_wait():
    """Six queries, of which one runs at once and the second's client leaves before it runs.

    Returns (answers or errors, queries that ran, queries that wait after closing).
    """
    gate = threading.Event()
    ran: list[str] = []

    def run_batch(key: None, queries: list[str]) -> list[str]:
        gate.wait(10)
        ran.extend(queries)
        return queries

    async def main() -> tuple[list[object], int]:
        batcher: Batcher[None, str] = Batcher(run_batch, max_waiting=3)
        waiting = [asyncio.create_task(batcher.submit(None, str(n))) for n in range(6)]
        await asyncio.sleep(0.05)
        waiting[1].cancel()
        gate.set()
        await batcher.close()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        return answers, len(batcher)

    answers, waiting = asyncio.run(main())
    return answers, ran, waiting


def test_queries_beyond_the_limit_are_refused(six_where_three_may_wait):
    answers, _, _ = six_where_three_may_wait
    assert [type(answer) for answer in answers[4:]] == [Overloaded, Overloaded]


def test_closing_answers_the_queries_that_wait(six_where_three_may_wait):
    answers, _, waiting = six_where_three_may_wait
    assert (answers[0], *answers[2:4]) == ("0", "2", "3")
    assert waiting == 0


def test_a_query_whose_client_left_does_not_run(six_where_three_may_wait):
    answers, ran, _ = six_where_three_may_wait
    assert isinstance(answers[1], asyncio.CancelledError)
    assert ran == ["0", "2", "3"]


def test_a_batch_answers_as_each_query_alone(tmp_path, tiny_encoder_folder):
    index = made_index(tmp_path / "i", tiny_encoder_folder)
    queries = ["read a file", "retry", "headers", "log line", "parse the list"] * 8

    async def main() -> list[dict]:
        service = Service(index, writable=False)
        await service.start()
        waiting = [service.search(query, SearchRequest(k=3)) for query in queries]
        answers = await asyncio.gather(*waiting)
        await service.close()
        return answers

    library = Index.open(index)
    for query, answer in zip(queries, asyncio.run(main()), strict=True):
        alone = library.search(query, k=3)
        assert [hit["id"] for hit in answer["hits"]] == [hit.passage.id for hit in alone]
        scores = [hit.score for hit in alone]
        assert [hit["score"] for hit in answer["hits"]] == pytest.approx(scores, abs=1e-5)
