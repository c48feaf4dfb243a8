"""The ranking rule for names: what counts as a name, and what it does to a ranking."""

from __future__ import annotations

import pytest

from mbert_retrieval import Passage
from mbert_retrieval.search.ranking import definitions_first, names_in


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("fuse", {"fuse"}),
        ("max_retries readHeader", {"max_retries", "readHeader"}),
        ("OrderedDict.move_to_end", {"OrderedDict", "move_to_end"}),
        ("retries http", set()),
        ("where is read_header", set()),
        ("_private", {"_private"}),
        ("über_setzen", {"über_setzen"}),
        ("404", set()),
        ("", set()),
    ],
)
def test_a_query_is_a_name_or_a_sentence(query, names):
    assert names_in(query) == names


def passages_by_id(**metadata):
    return lambda ids: [Passage(id, "text", metadata=metadata.get(id, {})) for id in ids]


def test_a_definition_gets_the_best_score_added():
    passages = passages_by_id(b={"kind": "function", "name": "Outer.fuse"})
    ranking = definitions_first("fuse", [("a", 3.0), ("b", 1.0), ("c", 0.5)], passages)
    assert ranking == [("b", 4.0), ("a", 3.0), ("c", 0.5)]


@pytest.mark.parametrize("kind", ["function", "method", "class", "table"])
def test_every_kind_of_definition_is_raised(kind):
    passages = passages_by_id(b={"kind": kind, "name": "fuse"})
    assert definitions_first("fuse", [("a", 1.0), ("b", 0.5)], passages)[0] == ("b", 1.5)


@pytest.mark.parametrize(
    "metadata",
    [
        {"kind": "section", "name": "fuse"},
        {"kind": "function", "name": "fuse.inner"},
        {"kind": "function", "name": "Fuse"},
        {"kind": "function"},
        {"name": "fuse"},
    ],
)
def test_what_does_not_define_the_name_stays(metadata):
    ranking = [("a", 1.0), ("b", 0.5)]
    assert definitions_first("fuse", ranking, passages_by_id(b=metadata)) == ranking


@pytest.mark.parametrize("name", ["Table::fuse", "table.fuse", "guide#fuse"])
def test_the_last_component_of_a_qualified_name_counts(name):
    passages = passages_by_id(b={"kind": "method", "name": name})
    assert definitions_first("fuse", [("a", 1.0), ("b", 0.5)], passages)[0][0] == "b"


def test_a_negative_best_score_raises_too():
    passages = passages_by_id(b={"kind": "class", "name": "Fuse"})
    ranking = definitions_first("Fuse", [("a", -1.0), ("b", -1.5)], passages)
    assert ranking == [("b", -0.5), ("a", -1.0)]


def test_equal_scores_are_ordered_by_id():
    passages = passages_by_id(a={"kind": "class", "name": "x"}, b={"kind": "class", "name": "x"})
    ranking = definitions_first("x", [("b", 1.0), ("a", 1.0)], passages)
    assert ranking == [("a", 2.0), ("b", 2.0)]


def test_a_sentence_reads_no_passages():
    ranking = [("a", 1.0)]
    assert definitions_first("where is it", ranking, None) is ranking


def test_an_empty_ranking_reads_no_passages():
    assert definitions_first("fuse", [], None) == []
