"""Options of a search: what is accepted, and the one line that says what is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from mbert_retrieval import InputError
from mbert_retrieval.indexes.filtering import Filter, parse_where
from mbert_retrieval.search.options import SearchOptions, check_query, check_texts


def test_the_defaults():
    options = SearchOptions()
    assert (options.k, options.mode, options.where, options.group) == (10, "hybrid", None, False)


def test_an_integer_of_numpy_is_a_number_of_hits():
    assert SearchOptions(k=np.int64(3)).k == 3


def test_an_expression_is_parsed_at_once():
    where = SearchOptions(where="language = 'python'").where
    assert where == parse_where("language = 'python'")


def test_a_parsed_filter_stays_as_it_is():
    where = Filter("1", [])
    assert SearchOptions(where=where).where is where


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"k": 0}, InputError, "k must be at least 1"),
        ({"k": "3"}, TypeError, "k must be an integer, not .3."),
        ({"k": 2.5}, TypeError, "k must be an integer, not 2.5"),
        ({"mode": "magic"}, InputError, "unknown mode 'magic': use one of hybrid, vector"),
        ({"where": {"language": "python"}}, TypeError, "where must be .* not dict"),
        ({"where": "language ="}, InputError, "filter"),
    ],
)
def test_bad_options_say_what_is_wrong(options, error, message):
    with pytest.raises(error, match=message):
        SearchOptions(**options)


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_query_is_refused(text):
    with pytest.raises(InputError, match="the query is empty"):
        check_query(text)


@pytest.mark.parametrize("text", [None, b"bytes", 3, ["a", "list"]])
def test_a_query_that_is_no_string_is_refused(text):
    with pytest.raises(TypeError, match=f"must be a string, not {type(text).__name__}"):
        check_query(text)


def test_several_queries_may_come_from_a_generator():
    assert check_texts(text for text in ("a", "b")) == ["a", "b"]


@pytest.mark.parametrize("check", [check_query, lambda text: check_texts([text])])
def test_a_lone_surrogate_is_no_query(check):
    with pytest.raises(InputError, match="the query is not valid Unicode"):
        check("caf\udce9")


def test_a_number_of_hits_beyond_any_index_is_refused():
    with pytest.raises(InputError, match="k must be at most"):
        SearchOptions(k=10**30)
