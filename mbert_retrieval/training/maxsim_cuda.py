"""MaxSim on CUDA, in Triton: the similarities of a tile stay in registers."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

QUERY_TILE, DOCUMENT_TILE, GRADIENT_TILE = 32, 64, 16  # rows per program


@triton.jit
def _best_kernel(
    queries, documents, offsets, highest, best, tokens, count,
    DIMENSION: tl.constexpr, WIDTH: tl.constexpr, QUERIES: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    document = tl.program_id(1)
    start = tl.load(offsets + document).to(tl.int32)
    end = tl.load(offsets + document + 1).to(tl.int32)
    q = tl.program_id(0) * QUERIES + tl.arange(0, QUERIES)
    d = tl.arange(0, WIDTH)
    inside = (q < tokens)[:, None] & (d < DIMENSION)[None, :]
    query = tl.load(queries + q[:, None].to(tl.int64) * DIMENSION + d[None, :], inside, other=0.0)
    top = tl.full((QUERIES,), float("-inf"), tl.float32)
    top_row = tl.full((QUERIES,), -1, tl.int32)
    for first in range(start, end, ROWS):
        row = first + tl.arange(0, ROWS)
        valid = (row < end)[None, :] & (d < DIMENSION)[:, None]
        tile = tl.load(
            documents + row[None, :].to(tl.int64) * DIMENSION + d[:, None], valid, other=0.0
        )
        similarity = tl.dot(query, tile, input_precision="ieee")  # (QUERIES, ROWS) float32
        similarity = tl.where((row < end)[None, :], similarity, float("-inf"))
        tile_top = tl.max(similarity, 1)
        tile_row = first + tl.argmax(similarity, 1).to(tl.int32)
        better = tile_top > top
        top = tl.where(better, tile_top, top)
        top_row = tl.where(better, tile_row, top_row)
    out = q.to(tl.int64) * count + document
    tl.store(highest + out, tl.where(top_row < 0, 0.0, top), q < tokens)
    tl.store(best + out, top_row, q < tokens)


@triton.jit
def _gradient_kernel(
    queries, documents, best, grad, owner, of_queries, of_documents, tokens, count,
    DIMENSION: tl.constexpr, WIDTH: tl.constexpr, QUERIES: tl.constexpr,
):  # fmt: skip
    q = tl.program_id(0) * QUERIES + tl.arange(0, QUERIES)
    d = tl.arange(0, WIDTH)
    valid, inside = q < tokens, (d < DIMENSION)[None, :]
    at = q[:, None].to(tl.int64) * DIMENSION + d[None, :]
    token = tl.load(queries + at, valid[:, None] & inside, other=0.0).to(tl.float32)
    query = tl.load(owner + q, valid, other=0)
    total = tl.zeros((QUERIES, WIDTH), tl.float32)
    for document in range(0, count):
        row = tl.load(best + q.to(tl.int64) * count + document, valid, other=-1)
        weight = tl.load(grad + query * count + document, valid & (row >= 0), other=0.0)
        matched = (row >= 0)[:, None] & inside
        match_at = row[:, None].to(tl.int64) * DIMENSION + d[None, :]
        match = tl.load(documents + match_at, matched, other=0.0).to(tl.float32)
        total += weight[:, None] * match
        tl.atomic_add(of_documents + match_at, weight[:, None] * token, matched)
    tl.store(of_queries + at, total, valid[:, None] & inside)


def best_matches(queries: Tensor, documents: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """Do what `maxsim.best_matches` does; the rows are int32."""
    tokens, dimension = queries.shape
    count = len(offsets) - 1
    highest = torch.zeros(tokens, count, device=queries.device)
    best = torch.full((tokens, count), -1, dtype=torch.int32, device=queries.device)
    if tokens and count:
        _best_kernel[(triton.cdiv(tokens, QUERY_TILE), count)](
            queries.contiguous(), documents.contiguous(), offsets, highest, best, tokens, count,
            DIMENSION=dimension, WIDTH=max(16, triton.next_power_of_2(dimension)),
            QUERIES=QUERY_TILE, ROWS=DOCUMENT_TILE,
        )  # fmt: skip
    return highest, best


def gradients(
    queries: Tensor, documents: Tensor, best: Tensor, grad: Tensor, owner: Tensor
) -> tuple[Tensor, Tensor]:
    """Do what `maxsim.gradients_of_matches` does."""
    tokens, dimension = queries.shape
    of_queries = torch.zeros(queries.shape, device=queries.device)
    of_documents = torch.zeros(documents.shape, device=queries.device)
    if tokens and best.shape[1]:
        _gradient_kernel[(triton.cdiv(tokens, GRADIENT_TILE),)](
            queries.contiguous(), documents.contiguous(), best, grad.contiguous(), owner,
            of_queries, of_documents, tokens, best.shape[1],
            DIMENSION=dimension, WIDTH=max(16, triton.next_power_of_2(dimension)),
            QUERIES=GRADIENT_TILE,
        )  # fmt: skip
    return of_queries, of_documents
