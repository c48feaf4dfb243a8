"""MaxSim of a batch of queries against packed documents, without the matrix of similarities.

The sum over a query's tokens of their best match in a document (Khattab and Zaharia 2020) has a
gradient through the best matches alone. Which they are is found first, a tile of similarities at a
time, and all that is kept is one index a query token and document: for 64 queries of 32 tokens
against 512 documents of 300 tokens 4 MB, where the similarities alone would be 1.3 GB. On CUDA
kernels in Triton do it (`maxsim_cuda.py`); elsewhere torch does, a document at a time.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

EMPTY = -1e9  # the score of a document without tokens, as sentence-transformers has it


def maxsim(
    queries: Tensor, query_offsets: Tensor, documents: Tensor, document_offsets: Tensor
) -> Tensor:
    """Scores of all documents for all queries, with a gradient by both.

    queries: (Nq, D), documents: (Nd, D) floating-point, packed token vectors. query_offsets:
    (Q + 1,), document_offsets: (B + 1,) int64 on the same device. Returns (Q, B) float32; EMPTY for
    documents without tokens.
    """
    scores: Tensor = _MaxSim.apply(queries, query_offsets, documents, document_offsets)
    return scores.masked_fill(document_offsets.diff() == 0, EMPTY)


class _MaxSim(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, queries: Tensor, query_offsets: Tensor, documents: Tensor, document_offsets: Tensor
    ) -> Tensor:
        kernels = _kernels(queries)
        search = kernels.best_matches if kernels else _best_matches
        most, best = search(queries, documents, document_offsets)  # (Nq, B) each
        owner = _owners(query_offsets)
        scores = most.new_zeros(len(query_offsets) - 1, most.shape[1]).index_add_(0, owner, most)
        ctx.save_for_backward(queries, documents, best, owner)
        return scores

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slopes: Tensor) -> tuple[Tensor, None, Tensor, None]:
        queries, documents, best, owner = ctx.saved_tensors
        kernels = _kernels(queries)
        spread = kernels.slopes if kernels else _slopes
        by_query, by_document = spread(queries, documents, best, slopes.float(), owner)
        return by_query.to(queries.dtype), None, by_document.to(documents.dtype), None


def _kernels(queries: Tensor) -> Any:
    """The module of kernels for this device, None where torch does it."""
    if queries.device.type != "cuda":
        return None
    from . import maxsim_cuda

    return maxsim_cuda


def _owners(offsets: Tensor) -> Tensor:
    """(N,) int64: which sequence each packed row belongs to."""
    lengths = offsets.diff()
    places = torch.arange(len(lengths), device=offsets.device)
    return places.repeat_interleave(lengths)


def _best_matches(queries: Tensor, documents: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Each query token's highest similarity in each document, (Nq, B) float32, and the row of
    `documents` that has it, (Nq, B) int64, -1 in an empty document."""
    count = len(offsets) - 1
    most = torch.zeros(len(queries), count, device=queries.device)
    best = torch.full((len(queries), count), -1, device=queries.device)
    for i, (start, end) in enumerate(pairwise(offsets.tolist())):
        if start < end and len(queries):
            similarity = queries @ documents[start:end].T
            most[:, i], place = similarity.float().max(1)
            best[:, i] = place + start
    return most, best


def _slopes(
    queries: Tensor, documents: Tensor, best: Tensor, slopes: Tensor, owner: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients by `queries` and `documents`, float32. slopes: (Q, B) by the scores."""
    q, d = queries.float(), documents.float()
    by_query, by_document = torch.zeros_like(q), torch.zeros_like(d)
    for i in range(best.shape[1]):
        rows = best[:, i]
        if len(rows) == 0 or rows[0] < 0:
            continue
        weights = slopes[owner, i, None]  # (Nq, 1)
        by_query.addcmul_(weights, d[rows])
        by_document.index_add_(0, rows, weights * q)
    return by_query, by_document


class PackedScores:
    """`maxsim` as sentence-transformers' losses call their scores (see `colbert_scores`)."""

    def __call__(
        self,
        queries_embeddings: Tensor,
        documents_embeddings: Tensor,
        queries_mask: Tensor | None = None,
        documents_mask: Tensor | None = None,
    ) -> Tensor:
        """queries: (Q, Lq, D). documents: (B, ways, Ld, D). Masks say which tokens count.
        Returns (Q, B * ways) float32."""
        documents = documents_embeddings.flatten(0, 1)
        if documents_mask is not None:
            documents_mask = documents_mask.flatten(0, 1)
        return maxsim(
            *_packed(queries_embeddings, queries_mask), *_packed(documents, documents_mask)
        )

    def get_config_dict(self) -> dict[str, Any]:
        return {"name": "maxsim"}


def _packed(padded: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """The tokens that count, (N, D), and their offsets; without a mask those that are not zero."""
    real = padded.ne(0).any(-1) if mask is None else mask.bool()
    lengths = real.sum(1)
    offsets = torch.cat((lengths.new_zeros(1), lengths.cumsum(0)))
    return padded[real], offsets
