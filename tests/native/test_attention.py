"""The compiled attention of packed batches against its definition in float64."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mbert_retrieval.backbone import ModernBert, ModernBertConfig, initialise
from mbert_retrieval.backbone.attention import attend_on_cpu
from mbert_retrieval.backbone.rotary import rotation


def in_float64(
    qkv: torch.Tensor, lengths: list[int], theta: float, window: int | None
) -> torch.Tensor:
    """Softmax attention of rotated vectors by its definition, a sequence at a time."""
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


def on_many_shapes(test: Callable[..., None]) -> Callable[..., None]:
    """The test for many lengths and shapes, in both precisions."""
    drawn = given(
        seed=st.integers(0, 2**16),
        lengths=st.lists(st.integers(0, 90), min_size=1, max_size=5),
        heads=st.integers(1, 3),
        dimension=st.sampled_from([16, 32, 64, 80]),
        window=st.sampled_from([None, 1, 8, 64]),
        threads=st.sampled_from([1, 3]),
    )
    precisions = [(torch.float32, 2e-5), (torch.bfloat16, 2e-2)]
    each = pytest.mark.parametrize(("dtype", "tolerance"), precisions, ids=str)
    return each(settings(max_examples=60, deadline=None)(drawn(test)))


@on_many_shapes
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
    expected = in_float64(qkv, lengths, 1e4, window)
    torch.testing.assert_close(found.double(), expected, atol=tolerance, rtol=tolerance)


def test_large_scores_do_not_overflow():
    qkv = torch.full((3, 3, 1, 16), 60.0)
    qkv[1, 1] = -60.0  # a key that nobody listens to
    qkv[:, 2] = torch.arange(3.0)[:, None, None]
    cos_sin = rotation(torch.zeros(3, dtype=torch.int64), 16, 1e4, torch.float32)
    found = attend_on_cpu(qkv, cos_sin, torch.tensor([0, 3]), None)
    assert torch.allclose(found, torch.ones(3, 1, 16))  # the mean of the values 0 and 2


@on_many_shapes
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
