"""SDPA by a plan, which runs where no packed kernel does, against attention by its definition."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mbert_retrieval.backbone.attention import attend_by_plan, plan_attention

HEADS, WIDTH = 2, 8


def by_definition(q, k, v, offsets, window, attended):
    """Every sequence by itself; zeros for a token that attends to none."""
    out = torch.zeros_like(q)
    for first, last in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        length = last - first
        position = torch.arange(length)
        visible = torch.ones(length, length, dtype=torch.bool)
        if window is not None:
            visible = (position[:, None] - position).abs() <= window
        if attended is not None:
            visible = visible & attended[first:last]
        rows = slice(first, last)
        scores = torch.einsum("qhd,khd->hqk", q[rows], k[rows]) * WIDTH**-0.5
        weights = scores.masked_fill(~visible, -torch.inf).softmax(-1).nan_to_num(0)
        out[rows] = torch.einsum("hqk,khd->qhd", weights, v[rows])
    return out


@settings(deadline=None, max_examples=40)
@given(
    lengths=st.lists(st.integers(0, 150), min_size=1, max_size=6).filter(any),
    window=st.sampled_from([None, 1, 8, 32]),
    masked=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_a_plan_is_attention_within_each_sequence(lengths, window, masked, seed):
    generator = torch.Generator().manual_seed(seed)
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    q, k, v = torch.randn(3, sum(lengths), HEADS, WIDTH, generator=generator)
    attended = torch.rand(sum(lengths), generator=generator) < 0.7 if masked else None
    ours = attend_by_plan(q, k, v, plan_attention(offsets, window, attended), dropout=0.0)
    expected = by_definition(q, k, v, offsets, window, attended)
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("window", [None, 4])
def test_sequences_of_different_lengths_share_a_call(window):
    """Padding of the shorter ones must not be attended to."""
    offsets = torch.tensor([0, 20, 39, 57])
    plan = plan_attention(offsets, window)
    assert len(plan.groups) == 1
    q, k, v = torch.randn(3, 57, HEADS, WIDTH, generator=torch.Generator().manual_seed(0))
    expected = by_definition(q, k, v, offsets, window, None)
    torch.testing.assert_close(attend_by_plan(q, k, v, plan, 0.0), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("length", [129, 300])
def test_a_long_sequence_is_cut_into_blocks(length):
    """No call has scores of all pairs."""
    plan = plan_attention(torch.tensor([0, length]), window=8)
    assert all(group.keys.shape[1] < 100 for group in plan.groups)
