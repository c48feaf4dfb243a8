"""Products in int8 against their definition, and against what float32 gives."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mbert_retrieval.backbone import ModernBert, ModernBertConfig
from mbert_retrieval.backbone.int8 import Int8GeGLU, Int8Linear, quantise


def by_definition(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Both sides rounded to 127 steps of each row's largest number, multiplied as whole numbers."""

    def quantised(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        highest = np.abs(rows).max(1, keepdims=True)
        factor = np.divide(np.float32(127), highest, out=np.zeros_like(highest), where=highest > 0)
        return np.rint(rows * factor).astype(np.int64), highest.astype(np.float64) / 127

    (left, left_scale), (right, right_scale) = quantised(x), quantised(weights)
    return (left @ right.T) * left_scale * right_scale.T


@given(
    seed=st.integers(0, 2**16),
    rows=st.integers(0, 210),
    inputs=st.integers(1, 9),
    outputs=st.integers(1, 9),
    threads=st.sampled_from([1, 3]),
    bias=st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_is_the_product_of_rounded_numbers(seed, rows, inputs, outputs, threads, bias):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 16 * inputs, generator=generator)
    if rows:
        x[0] = 0
        x[-1, 0] *= 1000  # one number that outweighs its row
    linear = torch.nn.Linear(16 * inputs, 16 * outputs, bias=bias)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.no_grad():
            actual = Int8Linear(linear)(x)
    finally:
        torch.set_num_threads(before)
    expected = by_definition(x.numpy(), linear.weight.detach().numpy())
    if bias:
        expected = expected + linear.bias.detach().numpy()
    np.testing.assert_allclose(actual.numpy(), expected, rtol=1e-4, atol=1e-4)


def test_bfloat16_in_and_out():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 50, 64, generator=generator).bfloat16()
    linear = torch.nn.Linear(64, 32, bias=False).bfloat16()
    with torch.inference_mode():
        actual, expected = Int8Linear(linear)(x), linear(x)
    assert actual.dtype == torch.bfloat16
    assert actual.shape == expected.shape
    assert (actual - expected).norm() / expected.norm() < 0.02


@given(
    values=st.lists(st.floats(-40, 40, width=32), min_size=1, max_size=40),
    scale=st.sampled_from([1e-3, 1.0, 30.0]),
)
@settings(max_examples=100, deadline=None)
def test_gates_on_the_way_in(values, scale):
    """What reaches the product is gelu(first half) * second half: through weights that pass on one
    number each, rounded to 127 steps of the largest."""
    first = torch.zeros(1, 48)
    first[0, : len(values)] = torch.tensor(values)
    second = torch.full((1, 48), scale)
    linear = torch.nn.Linear(48, 48, bias=False)
    with torch.no_grad():
        linear.weight.copy_(torch.eye(48))
        actual = Int8Linear(linear).product(torch.cat((first, second), 1), gated=True)
    expected = torch.nn.functional.gelu(first.double()) * scale
    step = expected.abs().max() / 127
    assert (actual - expected).abs().max() <= 0.501 * step + 1e-6 * scale


def test_a_gradient_takes_the_exact_product():
    linear = torch.nn.Linear(32, 16)
    x = torch.randn(4, 32, requires_grad=True)
    ours = Int8Linear(linear)(x)
    assert torch.equal(ours, linear(x))
    ours.sum().backward()
    assert x.grad is not None


def test_every_layer_gates_while_it_quantises():
    config = ModernBertConfig(
        vocab_size=16, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=2,
    )  # fmt: skip
    network = ModernBert(config)
    names = list(network.state_dict())
    quantise(network)
    assert all(isinstance(layer.mlp, Int8GeGLU) for layer in network.layers)
    assert list(network.state_dict()) == names
