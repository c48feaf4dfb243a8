"""The compiled attention of packed batches against its definition in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mbert_retrieval.backbone import ModernBert, ModernBertConfig, initialise
from mbert_retrieval.backbone.attention import attend_on_cpu
from mbert_retrieval.backbone.rotary import rotation


def by_definition(
    qkv: np.ndarray, lengths: list[int], theta: float, window: int | None
) -> np.ndarray:
    """(N, 3, heads, D) float64 to (N, heads, D), one query at a time."""
    total, _, heads, dimension = qkv.shape
    half = dimension // 2
    out = np.empty((total, heads, dimension))
    start = 0
    for length in lengths:
        place = np.arange(length)[:, None]
        angles = place / theta ** (np.arange(0, dimension, 2) / dimension)  # (L, D / 2)
        turn = np.exp(1j * angles)[:, None]  # a pair of halves is a complex number
        rows = qkv[start : start + length]
        q, k = (
            (rows[:, which, :, :half] + 1j * rows[:, which, :, half:]) * turn for which in (0, 1)
        )
        for i in range(length):
            scores = np.real(q[i].conj() * k).sum(-1) / dimension**0.5  # (L, heads)
            if window is not None:
                scores[np.abs(np.arange(length) - i) > window] = -np.inf
            weights = np.exp(scores - scores.max(0))
            weights /= weights.sum(0)
            out[start + i] = np.einsum("lh,lhd->hd", weights, rows[:, 2])
        start += length
    return out


@given(
    seed=st.integers(0, 2**16),
    lengths=st.lists(st.integers(0, 90), min_size=1, max_size=5),
    heads=st.integers(1, 3),
    dimension=st.sampled_from([16, 32, 64, 80]),
    window=st.sampled_from([None, 1, 8, 64]),
    threads=st.sampled_from([1, 3]),
)
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.bfloat16, 2e-2)], ids=str
)
def test_is_softmax_attention_of_rotated_vectors(
    dtype, tolerance, seed, lengths, heads, dimension, window, threads
):
    generator = torch.Generator().manual_seed(seed)
    total = sum(lengths)
    qkv = torch.randn(total, 3, heads, dimension, generator=generator).to(dtype)
    places = torch.cat([torch.arange(length) for length in lengths])
    cos_sin = rotation(places, dimension, 1e4, torch.float32)
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = attend_on_cpu(qkv, cos_sin, offsets, window)
    finally:
        torch.set_num_threads(before)
    assert found.dtype == dtype
    expected = by_definition(qkv.double().numpy(), lengths, 1e4, window)
    np.testing.assert_allclose(found.double().numpy(), expected, atol=tolerance, rtol=tolerance)


def test_large_scores_do_not_overflow():
    qkv = torch.full((3, 3, 1, 16), 60.0)
    qkv[1, 1] = -60.0  # a key that nobody listens to
    qkv[:, 2] = torch.arange(3.0)[:, None, None]
    cos_sin = rotation(torch.zeros(3, dtype=torch.int64), 16, 1e4, torch.float32)
    found = attend_on_cpu(qkv, cos_sin, torch.tensor([0, 3]), None)
    assert torch.allclose(found, torch.ones(3, 1, 16))  # the mean of the values 0 and 2


def in_float64(
    qkv: torch.Tensor, lengths: list[int], theta: float, window: int | None
) -> torch.Tensor:
    """What `by_definition` computes, a sequence at a time and with a gradient."""
    half = qkv.shape[-1] // 2
    outputs = []
    for rows in qkv.double().split(lengths):
        place = torch.arange(len(rows), dtype=torch.float64)
        angles = place[:, None] / theta ** (torch.arange(0, 2 * half, 2) / (2 * half))
        cosine, sine = angles.cos()[:, None], angles.sin()[:, None]  # (L, 1, D / 2)
        q, k = (
            torch.cat((a * cosine - b * sine, b * cosine + a * sine), -1)
            for a, b in (rows[:, which].split(half, -1) for which in (0, 1))
        )
        scores = torch.einsum("ihd,jhd->hij", q, k) / (2 * half) ** 0.5
        if window is not None:
            far = (place[:, None] - place).abs() > window
            scores = scores.masked_fill(far, -torch.inf)
        outputs.append(torch.einsum("hij,jhd->ihd", scores.softmax(-1), rows[:, 2]))
    return torch.cat(outputs)


@given(
    seed=st.integers(0, 2**16),
    lengths=st.lists(st.integers(0, 90), min_size=1, max_size=5),
    heads=st.integers(1, 3),
    dimension=st.sampled_from([16, 32, 64, 80]),
    window=st.sampled_from([None, 1, 8, 64]),
    threads=st.sampled_from([1, 3]),
)
@settings(max_examples=60, deadline=None)
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 2e-5), (torch.bfloat16, 2e-2)], ids=str
)
def test_its_gradient_is_autograds(
    dtype, tolerance, seed, lengths, heads, dimension, window, threads
):
    generator = torch.Generator().manual_seed(seed)
    total = sum(lengths)
    qkv = torch.randn(total, 3, heads, dimension, generator=generator).to(dtype).requires_grad_()
    slopes = torch.randn(total, heads, dimension, generator=generator).to(dtype)
    places = torch.cat([torch.arange(length) for length in lengths])
    cos_sin = rotation(places, dimension, 1e4, torch.float32)
    offsets = torch.tensor([0, *lengths]).cumsum(0)
    (expected,) = torch.autograd.grad(in_float64(qkv, lengths, 1e4, window), qkv, slopes.double())
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        (found,) = torch.autograd.grad(attend_on_cpu(qkv, cos_sin, offsets, window), qkv, slopes)
    finally:
        torch.set_num_threads(before)
    assert found.dtype == dtype
    torch.testing.assert_close(found, expected.to(dtype), atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_a_network_has_the_gradients_of_the_other_path(checkpointing):
    """Tokens that nobody may attend to take SDPA; here they are none, so both must agree."""
    config = ModernBertConfig(
        vocab_size=50, hidden_size=32, intermediate_size=32, num_hidden_layers=4,
        num_attention_heads=2, pad_token_id=0, cls_token_id=1, sep_token_id=2,
    )  # fmt: skip
    model = ModernBert(config)
    initialise(model, config, torch.Generator().manual_seed(0))
    model.gradient_checkpointing = checkpointing
    ids, offsets = torch.randint(0, 50, (450,)), torch.tensor([0, 440, 450])
    weights = torch.randn(450, 32, generator=torch.Generator().manual_seed(1))
    gradients = []
    for attended in (None, torch.ones(450, dtype=torch.bool)):
        model.zero_grad()
        (model(ids, offsets, attended) * weights).sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    for name, found in gradients[0].items():
        expected = gradients[1][name]
        assert found.abs().max() > 0
        torch.testing.assert_close(found, expected, atol=1e-4 * expected.abs().max(), rtol=1e-3)
