"""Searches in processes that a searching process starts."""

from __future__ import annotations

import multiprocessing
import threading
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from mbert_retrieval import Index, Passage


def search_in_child(path: Path) -> list[str]:
    return [hit.passage.id for hit in Index.open(path).search("word", k=3)]


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_processes_that_are_spawned_while_threads_search_answer(tmp_path, method):
    passages = [Passage(str(n), "word " * (n + 1)) for n in range(3)]
    index = Index.build(tmp_path / "i", passages, None)
    expected = search_in_child(tmp_path / "i")
    stop = threading.Event()

    def search_on() -> None:
        while not stop.is_set():
            index.search("word", k=3)

    threads = [threading.Thread(target=search_on) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        context = multiprocessing.get_context(method)
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            answers = pool.map(search_in_child, [tmp_path / "i"] * 4, timeout=60)
            assert list(answers) == [expected] * 4
    finally:
        stop.set()
        for thread in threads:
            thread.join()
