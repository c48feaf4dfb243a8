"""Heads: a packed batch of hidden states to vectors, one per text or one per token."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dense_layer import Dense
from .spec import DenseHeadSpec, LateHeadSpec


@dataclass(frozen=True)
class TokenBatch:
    """What a head needs to know of a batch besides its hidden states.

    Attributes:
        ids: Token ids, (N,) int64.
        cu_seqlens: Offsets of the sequences, (B + 1,) int64.
        prompt_length: Tokens of [CLS] and prompt at the start of each sequence.
        is_query: Whether queries are encoded, rather than documents.
    """

    ids: Tensor
    cu_seqlens: Tensor
    prompt_length: int
    is_query: bool


def pool(hidden: Tensor, cu_seqlens: Tensor, mode: str, skipped: int = 0) -> Tensor:
    """Pool the hidden states of each sequence, as sentence-transformers' Pooling does.

    Args:
        hidden: Hidden states, (N, D).
        cu_seqlens: Offsets of the sequences, (B + 1,).
        mode: One of `spec.POOLINGS`.
        skipped: Tokens at the start of each sequence that are left out: the prompt, when
            `include_prompt` is false. Weighted means use the remaining tokens' original positions.

    Returns:
        One vector per sequence, (B, D).
    """
    starts, ends = cu_seqlens[:-1], cu_seqlens[1:]
    lengths = ends - starts
    if mode == "cls":
        return hidden[starts + torch.where(lengths > skipped, skipped, 0)]
    if mode == "lasttoken":
        return hidden[ends - 1]
    index = torch.arange(len(hidden), device=hidden.device)
    index = index - torch.repeat_interleave(starts, lengths)  # (N,) in its own sequence
    pooled = index >= skipped
    hidden, index, lengths = hidden[pooled], index[pooled], (lengths - skipped).clamp(min=0)
    if mode == "max":
        return torch.segment_reduce(hidden, "max", lengths=lengths, unsafe=True)
    if mode == "weightedmean":
        weight = (index + 1).to(hidden.dtype)[:, None]
        total = torch.segment_reduce(hidden * weight, "sum", lengths=lengths, unsafe=True)
        weights = torch.segment_reduce(weight, "sum", lengths=lengths, unsafe=True)
        return total / weights.clamp(min=1e-9)
    total = torch.segment_reduce(hidden, "sum", lengths=lengths, unsafe=True)
    count = lengths[:, None].to(hidden.dtype).clamp(min=1e-9)
    return total / (count.sqrt() if mode == "mean_sqrt_len_tokens" else count)


class DenseHead(nn.Module):
    """One vector per text: pooling, Dense layers, truncation, normalisation.

    Args:
        hidden_size: Width of the backbone's hidden states.
        poolings: Modes of pooling, whose vectors are concatenated.
        layers: Projections of the pooled vector.
        include_prompt: Whether the prompt's tokens are pooled as well.
        truncate: Keep this many leading dimensions (Matryoshka; Kusupati et al. 2022).
        normalize: Scale to unit norm, after truncation.
    """

    kind = "dense"

    def __init__(
        self,
        hidden_size: int,
        poolings: tuple[str, ...] = ("mean",),
        layers: tuple[Dense, ...] = (),
        include_prompt: bool = True,
        truncate: int | None = None,
        normalize: bool = True,
    ) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.poolings = poolings
        self.projections = layers
        self.layers = nn.ModuleList(layers)
        self.include_prompt = include_prompt
        self.normalize = normalize
        full = layers[-1].linear.out_features if layers else hidden_size * len(poolings)
        self.dimension = min(truncate, full) if truncate else full
        self.truncated = self.dimension < full

    @classmethod
    def build(cls, spec: DenseHeadSpec, layers: tuple[Dense, ...]) -> DenseHead:
        """Build the head that a folder describes, with these layers."""
        return cls(
            spec.hidden_size,
            spec.poolings,
            layers,
            spec.include_prompt,
            spec.truncate,
            spec.normalize,
        )

    @property
    def spec(self) -> DenseHeadSpec:
        """The head, weights aside."""
        return DenseHeadSpec(
            self.hidden_size,
            self.poolings,
            tuple(layer.spec for layer in self.projections),
            self.include_prompt,
            self.dimension if self.truncated else None,
            self.normalize,
        )

    def forward(self, hidden: Tensor, batch: TokenBatch) -> tuple[Tensor, Tensor]:
        """Convert hidden states (N, hidden) to vectors (B, dimension) and offsets (B + 1,)."""
        skipped = 0 if self.include_prompt else batch.prompt_length
        x = torch.cat([pool(hidden, batch.cu_seqlens, mode, skipped) for mode in self.poolings], 1)
        for layer in self.layers:
            x = layer(x)
        x = x[:, : self.dimension]
        if self.normalize:
            x = F.normalize(x, dim=1)
        return x, torch.arange(len(x) + 1, device=x.device)


class LateHead(nn.Module):
    """One vector per token (ColBERT, Khattab and Zaharia 2020): Dense layers, then unit norm.

    Args:
        layers: Projections of the hidden states, at least one.
        skiplist: Token ids whose vectors are dropped from documents, punctuation as a rule. Queries
            keep all their tokens, those of the expansion included.
    """

    kind = "late"

    def __init__(self, layers: tuple[Dense, ...], skiplist: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.projections = layers
        self.layers = nn.ModuleList(layers)
        self.skiplist = skiplist
        self.dimension: int = layers[-1].linear.out_features
        self.skipped: Tensor
        self.register_buffer("skipped", torch.tensor(skiplist, dtype=torch.int64), persistent=False)

    @property
    def spec(self) -> LateHeadSpec:
        """The head, weights aside."""
        return LateHeadSpec(tuple(layer.spec for layer in self.projections), self.skiplist)

    def forward(self, hidden: Tensor, batch: TokenBatch) -> tuple[Tensor, Tensor]:
        """Convert hidden states (N, hidden) to vectors (M, dimension) and offsets (B + 1,)."""
        x = hidden
        for layer in self.layers:
            x = layer(x)
        x = F.normalize(x, dim=1)
        if batch.is_query or not self.skiplist:
            return x, batch.cu_seqlens
        has_vector = ~torch.isin(batch.ids, self.skipped)
        before = F.pad(has_vector.cumsum(0), (1, 0))  # vectors before each position
        return x[has_vector], before[batch.cu_seqlens]
