"""What `maxsim` does on CUDA, in Triton: the similarities of a tile live in registers only."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

QUERY_TILE, DOCUMENT_TILE, GRADIENT_TILE = 32, 64, 16  # rows of a program


@triton.jit
def _best_kernel(
    queries, documents, offsets, most, best, tokens, count,
    DIMENSION: tl.constexpr, WIDTH: tl.constexpr, QUERIES: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    document = tl.program_id(1)
    start = tl.load(offsets + document).to(tl.int32)
    end = tl.load(offsets + document + 1).to(tl.int32)
    q = tl.program_id(0) * QUERIES + tl.arange(0, QUERIES)
    d = tl.arange(0, WIDTH)
    inside = (q < tokens)[:, None] & (d < DIMENSION)[None, :]
    own = tl.load(queries + q[:, None].to(tl.int64) * DIMENSION + d[None, :], inside, other=0.0)
    top = tl.full((QUERIES,), float("-inf"), tl.float32)
    place = tl.full((QUERIES,), -1, tl.int32)
    for first in range(start, end, ROWS):
        row = first + tl.arange(0, ROWS)
        real = (row < end)[None, :] & (d < DIMENSION)[:, None]
        theirs = tl.load(
            documents + row[None, :].to(tl.int64) * DIMENSION + d[:, None], real, other=0.0
        )
        similarity = tl.dot(own, theirs, input_precision="ieee")  # (QUERIES, ROWS) float32
        similarity = tl.where((row < end)[None, :], similarity, float("-inf"))
        highest = tl.max(similarity, 1)
        at = first + tl.argmax(similarity, 1).to(tl.int32)
        better = highest > top
        top = tl.where(better, highest, top)
        place = tl.where(better, at, place)
    out = q.to(tl.int64) * count + document
    tl.store(most + out, tl.where(place < 0, 0.0, top), q < tokens)
    tl.store(best + out, place, q < tokens)


@triton.jit
def _slope_kernel(
    queries, documents, best, slopes, owner, by_query, by_document, tokens, count,
    DIMENSION: tl.constexpr, WIDTH: tl.constexpr, QUERIES: tl.constexpr,
):  # fmt: skip
    q = tl.program_id(0) * QUERIES + tl.arange(0, QUERIES)
    d = tl.arange(0, WIDTH)
    real, inside = q < tokens, (d < DIMENSION)[None, :]
    at = q[:, None].to(tl.int64) * DIMENSION + d[None, :]
    own = tl.load(queries + at, real[:, None] & inside, other=0.0).to(tl.float32)
    query = tl.load(owner + q, real, other=0)
    total = tl.zeros((QUERIES, WIDTH), tl.float32)
    for document in range(0, count):
        row = tl.load(best + q.to(tl.int64) * count + document, real, other=-1)
        weight = tl.load(slopes + query * count + document, real & (row >= 0), other=0.0)
        seen = (row >= 0)[:, None] & inside
        match = row[:, None].to(tl.int64) * DIMENSION + d[None, :]
        theirs = tl.load(documents + match, seen, other=0.0).to(tl.float32)
        total += weight[:, None] * theirs
        tl.atomic_add(by_document + match, weight[:, None] * own, seen)
    tl.store(by_query + at, total, real[:, None] & inside)


def best_matches(queries: Tensor, documents: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """As `maxsim._best_matches`; the rows are int32."""
    tokens, dimension = queries.shape
    count = len(offsets) - 1
    most = torch.zeros(tokens, count, device=queries.device)
    best = torch.full((tokens, count), -1, dtype=torch.int32, device=queries.device)
    if tokens and count:
        _best_kernel[(triton.cdiv(tokens, QUERY_TILE), count)](
            queries.contiguous(), documents.contiguous(), offsets, most, best, tokens, count,
            DIMENSION=dimension, WIDTH=max(16, triton.next_power_of_2(dimension)),
            QUERIES=QUERY_TILE, ROWS=DOCUMENT_TILE,
        )  # fmt: skip
    return most, best


def slopes(
    queries: Tensor, documents: Tensor, best: Tensor, slopes: Tensor, owner: Tensor
) -> tuple[Tensor, Tensor]:
    """As `maxsim._slopes`."""
    tokens, dimension = queries.shape
    by_query = torch.zeros(queries.shape, device=queries.device)
    by_document = torch.zeros(documents.shape, device=queries.device)
    if tokens and best.shape[1]:
        _slope_kernel[(triton.cdiv(tokens, GRADIENT_TILE),)](
            queries.contiguous(), documents.contiguous(), best, slopes.contiguous(), owner,
            by_query, by_document, tokens, best.shape[1],
            DIMENSION=dimension, WIDTH=max(16, triton.next_power_of_2(dimension)),
            QUERIES=GRADIENT_TILE,
        )  # fmt: skip
    return by_query, by_document
