"""The terms of a query, as BM25 splits them."""

from __future__ import annotations

import pytest

from mbert_retrieval.search.query_terms import term_pattern


@pytest.mark.parametrize(
    ("query", "text", "terms"),
    [
        ("readHTTPHeader", "read the http header", ["read", "http", "header"]),
        ("is it", "this isn't IS it", ["IS"]),
        ("it to", "bit IT to toe", ["IT", "to"]),
        ("the cache", "the caches", ["cache"]),
        ("a+b (c)", "aab c", ["c"]),
    ],
)
def test_terms_match_as_bm25_splits_them(query, text, terms):
    pattern = term_pattern(query)
    assert pattern is not None
    assert pattern.findall(text) == terms


def test_a_query_without_terms_has_no_pattern():
    assert term_pattern("?! ...") is None
