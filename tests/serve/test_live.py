"""Commits of other processes."""

from __future__ import annotations

import pytest

from mbert_retrieval import Index
from support.http import search
from support.serving import made_index, wait_until

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")
from mbert_retrieval.serve.live import LiveIndex

CLOSED = "connection closed"


def trouble(client) -> str:
    return client.get("/health").json().get("trouble", "")


def test_commits_of_other_processes_are_seen(lexical_index, writing_client):
    Index.open(lexical_index).delete(["net/retry.py:1-3"])
    wait_until(lambda: not search(writing_client, CLOSED))


def test_an_index_that_was_removed_is_still_served(lexical_index, writing_client):
    lexical_index.rename(lexical_index.with_name("gone"))
    wait_until(lambda: "is not an index" in trouble(writing_client))
    assert search(writing_client, "read_file")


def test_another_index_at_the_same_path_is_served(lexical_index, writing_client):
    lexical_index.rename(lexical_index.with_name("gone"))
    wait_until(lambda: trouble(writing_client))
    made_index(lexical_index)
    Index.open(lexical_index).delete(["net/retry.py:1-3"])
    wait_until(lambda: not search(writing_client, CLOSED))
    assert not trouble(writing_client)


def test_an_index_in_use_is_not_changed_by_a_newer_commit(lexical_index):
    live = LiveIndex(lexical_index)
    before = live.index
    Index.open(lexical_index).delete(["net/retry.py:1-3"])
    live.refresh()
    assert live.index is not before
    assert len(live.index) == len(before) - 1


def test_nothing_is_opened_again_without_a_newer_commit(lexical_index):
    opened = []
    live = LiveIndex(lexical_index, opened.append)
    live.refresh()
    assert opened == [live.folder]
