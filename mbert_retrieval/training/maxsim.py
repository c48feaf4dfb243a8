"""MaxSim of a batch of queries against packed documents, without the matrix of similarities.

The sum over a query's tokens of their best match in a document (Khattab and Zaharia 2020, arXiv
2004.12832) has a gradient through the best matches only. The forward pass computes the similarities
tile by tile and stores one index per query token and document: for 64 queries of 32 tokens against
512 documents of 300 tokens that is 4 MB, where the similarities would be 1.3 GB. Triton kernels run
on CUDA (`maxsim_cuda.py`); elsewhere torch computes one document at a time.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

EMPTY = -1e9  # score of a document without tokens, as in sentence-transformers


def maxsim(
    queries: Tensor, query_offsets: Tensor, documents: Tensor, document_offsets: Tensor
) -> Tensor:
    """Score all documents for all queries, with gradients for both.

    Args:
        queries: (Nq, D) floating-point, the packed token vectors of Q queries.
        query_offsets: (Q + 1,) int64 on the same device.
        documents: (Nd, D) floating-point, the packed token vectors of B documents.
        document_offsets: (B + 1,) int64 on the same device.

    Returns:
        (Q, B) float32; EMPTY for documents without tokens.

    Example:
        >>> import torch
        >>> tokens = torch.eye(3)
        >>> maxsim(tokens, torch.tensor([0, 1, 3]), tokens[:2], torch.tensor([0, 2]))
        tensor([[1.],
                [1.]])
    """
    scores: Tensor = _MaxSim.apply(queries, query_offsets, documents, document_offsets)
    return scores


class _MaxSim(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, queries: Tensor, query_offsets: Tensor, documents: Tensor, document_offsets: Tensor
    ) -> Tensor:
        offsets = query_offsets, document_offsets
        if kernels := _kernels(queries):
            keep = any(ctx.needs_input_grad)
            scores, best = kernels.score(queries, offsets[0], documents, offsets[1], EMPTY, keep)
        else:
            scores, best = score(queries, offsets[0], documents, offsets[1])
        ctx.save_for_backward(queries, query_offsets, documents, best)
        return scores

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, Tensor, None]:
        queries, query_offsets, documents, best = ctx.saved_tensors
        owner = sequence_of_rows(query_offsets, len(queries))
        kernels = _kernels(queries)
        gradients = kernels.gradients if kernels else gradients_of_matches
        of_queries, of_documents = gradients(queries, documents, best, grad.float(), owner)
        return of_queries.to(queries.dtype), None, of_documents.to(documents.dtype), None


def _kernels(queries: Tensor) -> Any:
    """Return the module of kernels for the tensor's device, or None to use torch."""
    if queries.device.type != "cuda":
        return None
    from . import maxsim_cuda

    return maxsim_cuda


def sequence_of_rows(offsets: Tensor, rows: int) -> Tensor:
    """Return the sequence that each of the packed rows belongs to, (rows,) int64."""
    lengths = offsets.diff()
    sequences = torch.arange(len(lengths), device=offsets.device)
    return sequences.repeat_interleave(lengths, output_size=rows)


def score(
    queries: Tensor, query_offsets: Tensor, documents: Tensor, document_offsets: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the scores, (Q, B) float32, and the rows of `best_matches`."""
    highest, best = best_matches(queries, documents, document_offsets)
    scores = highest.new_zeros(len(query_offsets) - 1, highest.shape[1])
    scores.index_add_(0, sequence_of_rows(query_offsets, len(queries)), highest)
    return scores.masked_fill_(document_offsets.diff() == 0, EMPTY), best


def best_matches(queries: Tensor, documents: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Return each query token's highest similarity in each document, (Nq, B) float32, and the row
    of `documents` that has it, (Nq, B) int64, -1 in an empty document."""
    count = len(offsets) - 1
    highest = torch.zeros(len(queries), count, device=queries.device)
    best = torch.full((len(queries), count), -1, device=queries.device)
    for i, (start, end) in enumerate(pairwise(offsets.tolist())):
        if start < end and len(queries):
            similarity = queries @ documents[start:end].T
            highest[:, i], row = similarity.float().max(1)
            best[:, i] = row + start
    return highest, best


def gradients_of_matches(
    queries: Tensor, documents: Tensor, best: Tensor, grad: Tensor, owner: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradients of `queries` and `documents`, float32.

    best: (Nq, B) rows of the best matches. grad: (Q, B) gradient of the scores. owner: (Nq,) the
    query that each query token belongs to.
    """
    q, d = queries.float(), documents.float()
    of_queries, of_documents = torch.zeros_like(q), torch.zeros_like(d)
    for i in range(best.shape[1]):
        rows = best[:, i]
        if len(rows) == 0 or rows[0] < 0:
            continue
        weights = grad[owner, i, None]  # (Nq, 1)
        of_queries.addcmul_(weights, d[rows])
        of_documents.index_add_(0, rows, weights * q)
    return of_queries, of_documents


class PackedScores:
    """`maxsim` with the signature of sentence-transformers' `colbert_scores`, for their losses."""

    def __call__(
        self,
        queries_embeddings: Tensor,
        documents_embeddings: Tensor,
        queries_mask: Tensor | None = None,
        documents_mask: Tensor | None = None,
    ) -> Tensor:
        """Score all documents for all queries.

        Args:
            queries_embeddings: (Q, Lq, D) padded token vectors.
            documents_embeddings: (B, ways, Ld, D) padded token vectors.
            queries_mask: (Q, Lq) whether a token counts; by default all that are not zero.
            documents_mask: (B, ways, Ld), likewise.

        Returns:
            (Q, B * ways) float32.
        """
        documents = documents_embeddings.flatten(0, 1)
        if documents_mask is not None:
            documents_mask = documents_mask.flatten(0, 1)
        return maxsim(
            *_packed(queries_embeddings, queries_mask), *_packed(documents, documents_mask)
        )

    def get_config_dict(self) -> dict[str, Any]:
        """Return what sentence-transformers writes into the model card."""
        return {"name": "maxsim"}


def _packed(padded: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """The tokens that count, (N, D), and their offsets; without a mask those that are not zero."""
    counted = padded.ne(0).any(-1) if mask is None else mask.bool()
    lengths = counted.sum(1)
    offsets = torch.cat((lengths.new_zeros(1), lengths.cumsum(0)))
    return padded[counted], offsets
