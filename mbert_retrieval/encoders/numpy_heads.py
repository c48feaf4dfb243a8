"""The heads of `heads.py` in numpy, for processes that do not load torch; float32 throughout."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ..backbone.numpy_model import Linear, gelu
from ..packed import Packed, offsets_from_lengths
from .spec import DenseHeadSpec, LateHeadSpec, Projection


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Compute the logistic function by the hyperbolic tangent, which does not overflow."""
    return np.float32(0.5) * (np.tanh(np.float32(0.5) * x) + np.float32(1))


ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "Identity": lambda x: x,
    "Tanh": np.tanh,
    "ReLU": lambda x: np.maximum(x, 0),
    "GELU": gelu,
    "Sigmoid": sigmoid,
    "SiLU": lambda x: x * sigmoid(x),
}


def project(x: np.ndarray, projection: Projection, weights: Mapping[str, np.ndarray]) -> np.ndarray:
    """Apply a projection, (M, in_features) to (M, out_features); see `dense_layer.Dense`."""
    out = ACTIVATIONS[projection.activation](Linear(weights, "linear")(x))
    if projection.use_residual:
        out = out + (Linear(weights, "residual")(x) if "residual.weight" in weights else x)
    return out


def unit(x: np.ndarray) -> np.ndarray:
    """Scale rows to unit norm; rows of zeros stay."""
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.float32(1e-12))


def pool(hidden: Packed, mode: str, skipped: int = 0) -> np.ndarray:
    """Pool the hidden states of each sequence, (B, D); see `heads.pool`."""
    return np.stack([_pool_one(tokens, mode, skipped) for tokens in hidden])


def _pool_one(tokens: np.ndarray, mode: str, skipped: int) -> np.ndarray:
    """(L, D) to (D,)."""
    if mode == "cls":
        return tokens[skipped if len(tokens) > skipped else 0]
    if mode == "lasttoken":
        return tokens[-1]
    pooled = tokens[skipped:]
    if mode == "max":
        return pooled.max(0, initial=-np.inf)
    if mode == "weightedmean":
        weight = np.arange(skipped + 1, len(tokens) + 1, dtype=np.float32)
        return weight @ pooled / np.float32(max(weight.sum(), 1e-9))
    count = max(len(pooled), 1e-9)
    return pooled.sum(0) / np.float32(count**0.5 if mode == "mean_sqrt_len_tokens" else count)


class NumpyHead:
    """`heads.DenseHead` or `heads.LateHead`, according to the spec.

    Args:
        spec: The head, weights aside.
        weights: The float32 tensors of each projection.
    """

    def __init__(
        self, spec: DenseHeadSpec | LateHeadSpec, weights: Sequence[Mapping[str, np.ndarray]]
    ) -> None:
        self.spec = spec
        self._projections = [
            (projection, dict(tensors))
            for projection, tensors in zip(spec.projections, weights, strict=True)
        ]

    def __call__(self, hidden: Packed, ids: Packed, prompt_length: int, is_query: bool) -> Packed:
        """Convert hidden states to vectors.

        Args:
            hidden: Hidden states, (N, hidden).
            ids: Token ids, (N,).
            prompt_length: Tokens of [CLS] and prompt at the start of each sequence.
            is_query: Whether queries are encoded, rather than documents.

        Returns:
            Vectors, (M, dimension), one sequence per text.
        """
        spec = self.spec
        x = hidden.values
        if isinstance(spec, DenseHeadSpec):
            skipped = 0 if spec.include_prompt else prompt_length
            x = np.concatenate([pool(hidden, mode, skipped) for mode in spec.poolings], axis=1)
        for projection, weights in self._projections:
            x = project(x, projection, weights)
        if isinstance(spec, DenseHeadSpec):
            x = x[:, : spec.dimension]
            return Packed.from_rows(unit(x) if spec.normalize else np.ascontiguousarray(x))
        x = unit(x)
        if is_query or not spec.skiplist:
            return Packed(x, ids.offsets)
        has_vector = ~np.isin(ids.values, spec.skiplist)
        return Packed(x[has_vector], offsets_from_lengths(has_vector)[ids.offsets])
