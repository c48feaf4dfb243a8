"""Queries to try on an index."""

from __future__ import annotations

import pytest

from mbert_retrieval import Passage
from mbert_retrieval.serve.examples import example_queries


def passage(path="a.py", title="", **metadata):
    return Passage(f"{path}:1", "text", title=title, path=path, metadata=metadata)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"doc": "Wake up all waiting threads. Then go."}, ["Wake up all waiting threads"]),
        ({"doc": "Wake up all waiting threads"}, ["Wake up all waiting threads"]),
        ({"doc": "Too short."}, []),
        ({"doc": "Equivalent to get_event_loop_policy() of some other module."}, []),
        ({"doc": "word " * 30}, []),
        ({"doc": 7, "signature": "def x()", "name": None}, []),
        ({"signature": "def x()", "name": "Queue.get_nowait"}, ["get_nowait"]),
        ({"signature": "def x()", "name": "__init__"}, []),
        ({"signature": "def x()", "name": "test_it_works"}, []),
        ({"title": "Guide > How to close a connection"}, ["How to close a connection"]),
        ({"title": "a.py"}, []),
        ({}, []),
    ],
)
def test_what_a_passage_says_of_itself(metadata, expected):
    assert example_queries([passage(**metadata)]) == expected


def test_each_is_of_another_file_and_none_is_twice():
    sentences = [
        passage(f"{number % 3}.py", doc=f"This is sentence number {number // 3}.")
        for number in range(9)
    ]
    assert example_queries(sentences) == ["This is sentence number 0"]
    names = [passage(f"{n}.py", signature="def", name=f"function_{n}") for n in range(9)]
    many = [passage(f"{n}.md", title=f"How to do thing number {n}") for n in range(9)]
    assert example_queries(names + many) == [
        *(f"How to do thing number {n}" for n in range(4)),
        "function_0",
        "function_1",
    ]
