"""Fusion of rankings: each method by hand or by numpy, and what holds for all."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbert_retrieval.search.fusion import fuse


def test_reciprocal_rank_fusion_by_hand():
    legs = [[("a", 9.0), ("b", 8.0)], [("b", 0.2), ("c", 0.1)]]
    assert fuse(legs, 10, method="rrf") == [("b", 1 / 62 + 1 / 61), ("a", 1 / 61), ("c", 1 / 62)]
    assert fuse(legs, 1, method="rrf") == [("b", 1 / 62 + 1 / 61)]
    assert [id for id, _ in fuse(legs, 10, [0.0, 1.0], "rrf")] == ["b", "c", "a"]


def test_convex_combination_by_hand():
    legs = [[("a", 30.0), ("b", 20.0), ("c", 10.0)], [("c", 1.0), ("b", 0.0)]]
    fused = fuse(legs, 10, weights=[0.25, 0.75], method="minmax")
    assert fused == [("c", 0.75), ("a", 0.25), ("b", 0.125)]


def test_standard_scores_by_numpy():
    late = [("a", 9.0), ("b", 8.0), ("c", 5.0), ("d", 2.0)]
    lexical = [("c", 7.0), ("e", 3.0)]  # the two others count as 0
    fused = dict(fuse([late, lexical], 10, [0.7, 0.3]))
    first, second = np.array([9.0, 8, 5, 2]), np.array([7.0, 3, 0, 0])
    vectors = dict(zip("abcd", (first - 2) / first.std(), strict=True))
    words = dict(zip("ce", second / second.std(), strict=False))
    expected = {id: 0.7 * vectors.get(id, 0) + 0.3 * words.get(id, 0) for id in "abcde"}
    assert fused == pytest.approx(expected)
    same = dict(fuse([[("a", 1.0), ("b", 1.0)], [("b", 2.0), ("a", 1.0)]], 2))
    assert same == pytest.approx({"a": 1.0, "b": 3.0})


ranking = st.lists(st.sampled_from("abcdefgh"), unique=True).map(
    lambda ids: [(id, float(-rank)) for rank, id in enumerate(ids)]
)


@settings(max_examples=50)
@given(
    st.lists(ranking, max_size=4), st.integers(1, 10), st.sampled_from(["zscore", "rrf", "minmax"])
)
def test_fusion_returns_each_id_once_best_first(legs, k, method):
    fused = fuse(legs, k, method=method)
    ids = {id for leg in legs for id, _ in leg}
    assert len(fused) == min(k, len(ids))
    assert {id for id, _ in fused} <= ids
    assert fused == sorted(set(fused), key=lambda hit: (-hit[1], hit[0]))


def test_one_leg_keeps_its_order():
    leg = [("x", 3.0), ("a", 2.0), ("m", 1.0)]
    assert [id for id, _ in fuse([leg, []], 3)] == ["x", "a", "m"]
