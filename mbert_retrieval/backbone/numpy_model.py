"""The ModernBERT network in numpy, for queries: importing torch takes longer than answering one.

The same network as `model.ModernBert` in evaluation mode, float32 throughout. Matrix products run
over the packed batch; attention runs one block of a sequence's tokens at a time, against the keys
in its window.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .arrays import Weights
from .config import ModernBertConfig

SCORES = 2**22  # the most attention scores in memory at once
LOCAL_BLOCK = 128  # queries of a block in a local layer


def tensor_shapes(config: ModernBertConfig) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor of the network, named as in published checkpoints."""
    width, inner = config.hidden_size, config.intermediate_size
    shapes: dict[str, tuple[int, ...]] = {}

    def norm(name: str) -> None:
        shapes[f"{name}.weight"] = (width,)
        if config.norm_bias:
            shapes[f"{name}.bias"] = (width,)

    def linear(name: str, outputs: int, inputs: int, bias: bool) -> None:
        shapes[f"{name}.weight"] = (outputs, inputs)
        if bias:
            shapes[f"{name}.bias"] = (outputs,)

    shapes["embeddings.tok_embeddings.weight"] = (config.vocab_size, width)
    norm("embeddings.norm")
    for i in range(config.num_hidden_layers):
        layer = f"layers.{i}"
        if i:
            norm(f"{layer}.attn_norm")
        linear(f"{layer}.attn.Wqkv", 3 * width, width, config.attention_bias)
        linear(f"{layer}.attn.Wo", width, width, config.attention_bias)
        norm(f"{layer}.mlp_norm")
        linear(f"{layer}.mlp.Wi", 2 * inner, width, config.mlp_bias)
        linear(f"{layer}.mlp.Wo", width, inner, config.mlp_bias)
    norm("final_norm")
    return shapes


class NumpyModernBert:
    """The network: token ids in, one contextual vector per token out; see `model.ModernBert`.

    Args:
        config: Its shape.
        weights: The tensors of `tensor_shapes`. The embeddings stay in the type they are stored in.
    """

    def __init__(self, config: ModernBertConfig, weights: Weights) -> None:
        self.config = config
        self._embed = weights.rows("embeddings.tok_embeddings.weight")
        self._embedding_norm = Norm(weights, "embeddings.norm", config.norm_eps)
        self._layers = [Layer(config, weights, i) for i in range(config.num_hidden_layers)]
        self._final_norm = Norm(weights, "final_norm", config.norm_eps)

    def forward(
        self, input_ids: np.ndarray, offsets: np.ndarray, attended: np.ndarray | None = None
    ) -> np.ndarray:
        """Encode a packed batch.

        Args:
            input_ids: Token ids, (N,) int64.
            offsets: Offsets of the sequences, (B + 1,) int64 that rise from 0 to N.
            attended: (N,) bool, False for tokens that none attends to, not even themselves.

        Returns:
            Hidden states, (N, hidden) float32.

        Raises:
            ValueError: For an id that is not in the vocabulary.
        """
        config = self.config
        if len(input_ids) == 0:
            return np.zeros((0, config.hidden_size), np.float32)
        low, high = int(input_ids.min()), int(input_ids.max())
        if low < 0 or high >= config.vocab_size:
            raise ValueError(
                f"token id {low if low < 0 else high} is out of range: "
                f"the vocabulary has {config.vocab_size} entries"
            )
        lengths = np.diff(offsets)
        index = np.arange(len(input_ids)) - np.repeat(offsets[:-1], lengths)
        rotations = [
            rotation(index, config.head_dim, theta)
            for theta in (config.local_rope_theta, config.global_rope_theta)
        ]
        x = self._embedding_norm(self._embed(input_ids))  # (N, hidden)
        for layer in self._layers:
            x = layer(x, offsets, rotations[layer.is_global], attended)
        return self._final_norm(x)


class Norm:
    def __init__(self, weights: Mapping[str, np.ndarray], name: str, eps: float) -> None:
        self.weight = weights[f"{name}.weight"]
        self.bias = weights.get(f"{name}.bias")
        self.eps = np.float32(eps)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        width = np.float32(x.shape[1])
        x = x - x.sum(1, keepdims=True) / width
        x /= np.sqrt(np.einsum("nd,nd->n", x, x)[:, None] / width + self.eps)
        x *= self.weight
        if self.bias is not None:
            x += self.bias
        return x


class Linear:
    def __init__(self, weights: Mapping[str, np.ndarray], name: str) -> None:
        self.weight = weights[f"{name}.weight"].T  # (in, out), a view
        self.bias = weights.get(f"{name}.bias")

    def __call__(self, x: np.ndarray) -> np.ndarray:
        y = x @ self.weight
        if self.bias is not None:
            y += self.bias
        return y


class Layer:
    def __init__(self, config: ModernBertConfig, weights: Weights, index: int) -> None:
        name = f"layers.{index}"
        eps = config.norm_eps
        self.heads = config.num_attention_heads
        self.is_global = config.global_layers[index]
        self.window = None if self.is_global else config.window
        # the embeddings end in a norm already, so the first layer has none
        self.attn_norm = Norm(weights, f"{name}.attn_norm", eps) if index else None
        self.qkv = Linear(weights, f"{name}.attn.Wqkv")
        self.attn_out = Linear(weights, f"{name}.attn.Wo")
        self.mlp_norm = Norm(weights, f"{name}.mlp_norm", eps)
        self.mlp_in = Linear(weights, f"{name}.mlp.Wi")
        self.mlp_out = Linear(weights, f"{name}.mlp.Wo")

    def __call__(
        self,
        x: np.ndarray,
        offsets: np.ndarray,
        cos_sin: tuple[np.ndarray, np.ndarray],
        attended: np.ndarray | None,
    ) -> np.ndarray:
        normed = x if self.attn_norm is None else self.attn_norm(x)
        qkv = self.qkv(normed).reshape(len(x), 3, self.heads, -1)  # (N, 3, heads, head_dim)
        rotate(qkv[:, :2], *cos_sin)
        qkv[:, 0] *= np.float32(qkv.shape[-1] ** -0.5)
        mixed = np.empty((len(x), self.heads, qkv.shape[-1]), np.float32)
        for first, last in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
            seen = None if attended is None else attended[first:last]
            attend(qkv[first:last], self.window, seen, mixed[first:last])
        x = x + self.attn_out(mixed.reshape(len(x), -1))
        a, gate = np.split(self.mlp_in(self.mlp_norm(x)), 2, axis=1)  # (N, intermediate) each
        x += self.mlp_out(gelu(a) * gate)
        return x


def attend(
    qkv: np.ndarray, window: int | None, attended: np.ndarray | None, out: np.ndarray
) -> None:
    """Compute softmax attention within one sequence.

    Args:
        qkv: (L, 3, heads, head_dim), queries already scaled.
        window: How many tokens a token attends to on either side; None for all.
        attended: (L,) bool, False for tokens that none attends to; None for none such.
        out: Receives the result, (L, heads, head_dim): zeros for a token that attends to none.
    """
    length, _, heads, _ = qkv.shape
    q, k, v = qkv.transpose(1, 2, 0, 3)  # (heads, L, head_dim) each
    result = out.transpose(1, 0, 2)
    block = max(SCORES // (heads * max(length, 1)), 1) if window is None else LOCAL_BLOCK
    for first in range(0, length, block):
        last = min(first + block, length)
        low, high = 0, length
        if window is not None:
            low, high = max(first - window, 0), min(last + window, length)
        scores = q[:, first:last] @ k[:, low:high].transpose(0, 2, 1)  # (heads, queries, keys)
        hidden = None if attended is None else ~attended[low:high][None, :]
        if window is not None and max(last - 1 - low, high - 1 - first) > window:
            away = np.abs(np.arange(first, last)[:, None] - np.arange(low, high)) > window
            hidden = away if hidden is None else away | hidden
        if hidden is not None:
            np.copyto(scores, -np.inf, where=hidden)
        highest = scores.max(2, keepdims=True)
        if hidden is not None:
            highest[np.isneginf(highest)] = 0
        scores -= highest
        np.exp(scores, out=scores)
        total = scores.sum(2, keepdims=True)
        np.matmul(scores, v[:, low:high], out=result[:, first:last])
        if hidden is not None:
            total[total == 0] = 1
        result[:, first:last] /= total


def rotation(index: np.ndarray, head_dim: int, theta: float) -> tuple[np.ndarray, np.ndarray]:
    """Compute cosines and sines, (N, 1, 1, head_dim // 2) float32 each; see `rotary.rotation`."""
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    frequencies = np.float32(1) / np.float32(theta) ** exponents
    angles = (index.astype(np.float32)[:, None] * frequencies)[:, None, None, :]
    return np.cos(angles), np.sin(angles)


def rotate(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> None:
    """Rotate queries and keys in place, (N, 2, heads, head_dim); see `rotary.rotate`."""
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    rotated = first * cos - second * sin
    second *= cos
    second += first * sin
    first[...] = rotated


def gelu(x: np.ndarray) -> np.ndarray:
    """Compute x Φ(x), by formula 7.1.26 of Abramowitz and Stegun (error at most 1.5e-7)."""
    z = np.abs(x)
    z *= np.float32(0.5**0.5)
    t = np.float32(1) / (np.float32(1) + np.float32(0.3275911) * z)
    tail = np.full_like(t, 1.061405429)
    for coefficient in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        tail *= t
        tail += np.float32(coefficient)
    tail *= t
    z *= z
    np.negative(z, out=z)
    tail *= np.exp(z, out=z)  # erfc(|x| / √2)
    tail *= np.float32(0.5)
    return x * np.where(x < 0, tail, np.float32(1) - tail)
