"""What `maxsim` does on CUDA, in Triton: the similarities of a tile live in registers only."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

DOCUMENT_TILE = 64  # document rows whose similarities a program holds
GRADIENT_TILE, GRADIENT_SPAN = 16, 64  # query rows and documents of a program
# of float32 products on the matrix units: three of TF32, with errors near those of float32
PRECISION = "tf32x3"


@triton.jit
def _score_kernel(
    queries, query_offsets, documents, document_offsets, scores, best, query_count,
    document_count, empty,
    DIMENSION: tl.constexpr, WIDTH: tl.constexpr, QUERIES: tl.constexpr, ROWS: tl.constexpr,
    KEEP: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """One query and one document. KEEP: also the row of the best match of each query vector."""
    query = tl.program_id(0) % query_count  # those of one document run together
    document = tl.program_id(0) // query_count
    start = tl.load(document_offsets + document).to(tl.int32)
    end = tl.load(document_offsets + document + 1).to(tl.int32)
    query_start = tl.load(query_offsets + query).to(tl.int32)
    query_end = tl.load(query_offsets + query + 1).to(tl.int32)
    d = tl.arange(0, WIDTH)
    total = 0.0
    for first_query in range(query_start, query_end, QUERIES):
        q = first_query + tl.arange(0, QUERIES)
        inside = (q < query_end)[:, None] & (d < DIMENSION)[None, :]
        token = tl.load(
            queries + q[:, None].to(tl.int64) * DIMENSION + d[None, :], inside, other=0.0
        )
        top = tl.full((QUERIES,), float("-inf"), tl.float32)
        top_row = tl.full((QUERIES,), -1, tl.int32)
        for first in range(start, end, ROWS):
            row = first + tl.arange(0, ROWS)
            valid = (row < end)[None, :] & (d < DIMENSION)[:, None]
            tile = tl.load(
                documents + row[None, :].to(tl.int64) * DIMENSION + d[:, None], valid, other=0.0
            )
            similarity = tl.dot(token, tile, input_precision=PRECISION)  # (QUERIES, ROWS) float32
            similarity = tl.where((row < end)[None, :], similarity, float("-inf"))
            if KEEP:
                highest, at = tl.max(similarity, 1, return_indices=True)
                top_row = tl.where(highest > top, first + at.to(tl.int32), top_row)
                top = tl.where(highest > top, highest, top)
            else:
                top = tl.maximum(top, tl.max(similarity, 1))
        total += tl.sum(tl.where(q < query_end, top, 0.0))
        if KEEP:
            tl.store(best + q.to(tl.int64) * document_count + document, top_row, q < query_end)
    out = query.to(tl.int64) * document_count + document
    tl.store(scores + out, tl.where(start < end, total, empty))


@triton.jit
def _gradient_kernel(
    queries, documents, best, grad, owner, of_queries, of_documents, tokens, count,
    DIMENSION: tl.constexpr, WIDTH: tl.constexpr, QUERIES: tl.constexpr, SPAN: tl.constexpr,
):  # fmt: skip
    q = tl.program_id(0) * QUERIES + tl.arange(0, QUERIES)
    d = tl.arange(0, WIDTH)
    valid, inside = q < tokens, (d < DIMENSION)[None, :]
    at = q[:, None].to(tl.int64) * DIMENSION + d[None, :]
    token = tl.load(queries + at, valid[:, None] & inside, other=0.0).to(tl.float32)
    query = tl.load(owner + q, valid, other=0)
    total = tl.zeros((QUERIES, WIDTH), tl.float32)
    first = tl.program_id(1) * SPAN
    for document in range(first, min(first + SPAN, count)):
        row = tl.load(best + q.to(tl.int64) * count + document, valid, other=-1)
        weight = tl.load(grad + query * count + document, valid & (row >= 0), other=0.0)
        matched = (row >= 0)[:, None] & inside
        match = row[:, None].to(tl.int64) * DIMENSION + d[None, :]
        tile = tl.load(documents + match, matched, other=0.0).to(tl.float32)
        total += weight[:, None] * tile
        tl.atomic_add(of_documents + match, weight[:, None] * token, matched, sem="relaxed")
    tl.atomic_add(of_queries + at, total, valid[:, None] & inside, sem="relaxed")


def score(
    queries: Tensor,
    query_offsets: Tensor,
    documents: Tensor,
    document_offsets: Tensor,
    empty: float,
    keep: bool,
) -> tuple[Tensor, Tensor]:
    """Do what `maxsim.maxsim` does and, where `keep`, return the row of `documents` that each query
    vector matches best in each document, (Nq, B) int32, -1 in an empty one."""
    tokens, dimension = queries.shape
    query_count, document_count = len(query_offsets) - 1, len(document_offsets) - 1
    scores = torch.empty(query_count, document_count, device=queries.device)
    shape = (tokens, document_count) if keep else (0, 0)
    best = torch.empty(shape, dtype=torch.int32, device=queries.device)
    if query_count and document_count:
        mean = triton.cdiv(tokens, query_count)
        _score_kernel[(query_count * document_count,)](
            queries.contiguous(), query_offsets, documents.contiguous(), document_offsets,
            scores, best, query_count, document_count, empty,
            DIMENSION=dimension, WIDTH=max(16, triton.next_power_of_2(dimension)),
            QUERIES=min(64, max(16, triton.next_power_of_2(mean))), ROWS=DOCUMENT_TILE,
            KEEP=keep, PRECISION=PRECISION,
        )  # fmt: skip
    return scores, best


def gradients(
    queries: Tensor, documents: Tensor, best: Tensor, grad: Tensor, owner: Tensor
) -> tuple[Tensor, Tensor]:
    """Do what `maxsim.gradients_of_matches` does."""
    tokens, dimension = queries.shape
    count = best.shape[1]
    of_queries = torch.zeros(queries.shape, device=queries.device)
    of_documents = torch.zeros(documents.shape, device=queries.device)
    if tokens and count:
        grid = (triton.cdiv(tokens, GRADIENT_TILE), triton.cdiv(count, GRADIENT_SPAN))
        _gradient_kernel[grid](
            queries.contiguous(), documents.contiguous(), best, grad.contiguous(), owner,
            of_queries, of_documents, tokens, count,
            DIMENSION=dimension, WIDTH=max(16, triton.next_power_of_2(dimension)),
            QUERIES=GRADIENT_TILE, SPAN=GRADIENT_SPAN,
        )  # fmt: skip
    return of_queries, of_documents
