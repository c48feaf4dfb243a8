"""`SearchResult`: a sequence of hits that keeps the commit it was made from."""

from __future__ import annotations

import pytest

from mbert_retrieval import Hit, Index, NotFoundError, Passage
from support.hash_encoder import HashEncoder

PASSAGES = [
    Passage("a", "retry the http call", path="net.py", start_line=1, end_line=1),
    Passage("b", "retry retry", path="net.py", start_line=3, end_line=3),
    Passage("c", "parse a header", metadata={"document": "guide"}),
    Passage("d", "retry a header", metadata={"document": "guide"}),
]


@pytest.fixture
def index(tmp_path):
    return Index.build(tmp_path / "i", PASSAGES, HashEncoder(), engine="flat")


def test_it_is_a_sequence_of_hits(index):
    result = index.search("retry", k=3)
    assert len(result) == 3
    assert [hit.rank for hit in result] == [1, 2, 3]
    assert isinstance(result[0], Hit)
    assert result[-1] == list(result)[2]
    assert result[:2] == list(result)[:2]


def test_a_result_without_hits_is_false(index):
    assert not index.search("zebra", mode="lexical")
    assert index.search("retry", mode="lexical")


def test_hits_carry_the_passages_that_were_indexed(index):
    by_id = {passage.id: passage for passage in PASSAGES}
    assert all(hit.passage == by_id[hit.passage.id] for hit in index.search("retry"))


def test_json_is_flat_and_in_the_order_of_old(index):
    (hit,) = index.search("parse", k=1, mode="lexical")
    assert list(hit.to_json()) == [
        "rank", "id", "score", "path", "start_line", "end_line", "title", "text", "metadata",
    ]  # fmt: skip
    assert hit.to_json()["id"] == "c"


def test_passages_are_read_once(index, monkeypatch):
    result = index.search("retry a call")  # no name, whose definition would be looked for
    read = []
    original = result.folder.passages
    monkeypatch.setattr(result.folder, "passages", lambda ids: read.append(ids) or original(ids))
    assert len(result.hits) == 4
    list(result)
    result.explain()
    result.marks()
    assert [len(ids) for ids in read] == [4]


def test_hits_can_be_read_after_their_passages_were_deleted(index):
    (result,) = index.search_many(["retry"], 4)
    index.delete([passage.id for passage in PASSAGES])
    assert {hit.passage.id for hit in result} == {"a", "b", "c", "d"}
    assert not index.search("retry")


def test_each_leg_has_its_ranking_and_the_query_its_vectors(index):
    result = index.search("retry http", k=1)
    assert result.rankings.keys() == {"late", "lexical"}
    assert len(result.rankings["late"]) == 4
    assert result.vectors["late"].shape == (2, HashEncoder().dimension)
    assert len(result.ranking) == 1


def test_a_group_is_a_document_by_its_best_passage(index):
    result = index.search("retry", mode="lexical", group=True)
    assert [hit.passage.document for hit in result] == ["net.py", "guide"]
    assert [hit.rank for hit in result] == [1, 2]


def test_many_queries_group_too(index):
    results = index.search_many(["retry", "header"], mode="lexical", group=True)
    assert [[hit.passage.document for hit in result] for result in results] == [
        ["net.py", "guide"],
        ["guide"],
    ]


def test_an_unknown_passage_is_not_explained(index):
    with pytest.raises(NotFoundError, match="'nope'"):
        index.search("retry").explain(["nope"])


def test_repr_says_what_it_is(index):
    result = index.search("retry", k=2, mode="lexical")
    assert repr(result) == "SearchResult('retry', 2 hits, mode='lexical')"


@pytest.mark.parametrize("texts", ["retry", ["retry", 3], [None]])
def test_several_queries_are_a_list_of_strings(index, texts):
    with pytest.raises(TypeError, match="texts must be a list of strings"):
        index.search_many(texts)
