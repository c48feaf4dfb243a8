"""The engine's searches on CUDA: `torch_search.search` for many queries at once, in Triton.

A program computes one passage and one query, with the best score of each query vector in registers,
so that no score of a single vector is ever written. Only the sizes of a batch are read back before
its results.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import triton
import triton.language as tl
from torch import Tensor

if TYPE_CHECKING:
    from ...packed import Packed
    from .torch_search import DeviceVectors

SCORES_AT_ONCE = 2**26  # float32 scores of centroids in memory, 256 MiB
LEVEL_ROWS, RESIDUAL_ROWS = 64, 32  # vectors of a passage per step of a program


@triton.jit
def _levels_kernel(
    offsets, codes, levels, probed, sums, reached, passages, centroids,
    WIDTH: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Sum the best levels of a passage, and tell whether one of its centroids is probed."""
    passage = tl.program_id(0)
    query = tl.program_id(1).to(tl.int64)
    start, end = tl.load(offsets + passage), tl.load(offsets + passage + 1)
    column = tl.arange(0, WIDTH)
    own_levels = levels + query * centroids * WIDTH + column[None, :]
    best = tl.zeros((WIDTH,), tl.int32)
    hit = tl.zeros((ROWS,), tl.int32)
    for first in range(start, end, ROWS):
        row = first + tl.arange(0, ROWS)
        valid = row < end
        code = tl.load(codes + row, valid, other=0).to(tl.int64)
        level = tl.load(own_levels + code[:, None] * WIDTH, valid[:, None], other=0)
        best = tl.maximum(best, tl.max(level.to(tl.int32), 0))
        hit |= tl.load(probed + query * centroids + code, valid, other=0).to(tl.int32)
    at = query * passages + passage
    tl.store(sums + at, tl.sum(best))
    tl.store(reached + at, tl.max(hit).to(tl.int8))


@triton.jit
def _residual_kernel(
    offsets, codes, residuals, buckets, table, rounded, factors, passage_ids, scores, candidates,
    centroids,
    BYTES: tl.constexpr, BYTE_WIDTH: tl.constexpr, BITS: tl.constexpr, WIDTH: tl.constexpr,
    ROWS: tl.constexpr,
):  # fmt: skip
    """Compute the score of one candidate, -inf where there is none (passage -1)."""
    at = tl.program_id(1).to(tl.int64) * candidates + tl.program_id(0)
    query = tl.program_id(1).to(tl.int64)
    passage = tl.load(passage_ids + at)
    start = tl.load(offsets + tl.maximum(passage, 0))
    end = tl.where(passage < 0, start, tl.load(offsets + tl.maximum(passage, 0) + 1))
    column, byte = tl.arange(0, WIDTH), tl.arange(0, BYTE_WIDTH)
    factor = tl.load(factors + query * WIDTH + column)
    best = tl.full((WIDTH,), float("-inf"), tl.float32)
    for first in range(start, end, ROWS):
        row = first + tl.arange(0, ROWS)
        valid = row < end
        inside = valid[:, None] & (byte < BYTES)[None, :]
        packed = tl.load(residuals + row[:, None] * BYTES + byte[None, :], inside, other=0)
        products = tl.zeros((ROWS, WIDTH), tl.float32)
        for plane in tl.static_range(8 // BITS):
            number = (packed.to(tl.int32) >> (plane * BITS)) & (2**BITS - 1)
            weight = tl.load(buckets + number)  # (ROWS, BYTE_WIDTH) float16 integers
            part = rounded + ((query * (8 // BITS) + plane) * BYTE_WIDTH + byte) * WIDTH
            products = tl.dot(weight, tl.load(part[:, None] + column[None, :]), products)
        code = tl.load(codes + row, valid, other=0).to(tl.int64)
        near = tl.load(table + (query * centroids + code)[:, None] * WIDTH + column[None, :])
        sums = tl.where(valid[:, None], near + factor[None, :] * products, float("-inf"))
        best = tl.maximum(best, tl.max(sums, 0))
    tl.store(scores + at, tl.sum(best))


def search(
    vectors: DeviceVectors, queries: Packed, allowed: Tensor, k: int, probes: int, candidates: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """See `torch_search.search`."""
    some = allowed.nonzero().squeeze(1)
    everything = some if len(some) <= candidates else None  # all are scored
    lengths = np.asarray(queries.lengths)
    width = max(16, triton.next_power_of_2(int(lengths.max(initial=1))))
    largest = max(width * len(vectors.centroids), len(allowed))
    step = max(1, min(1024, SCORES_AT_ONCE // largest))
    results = []
    for first in range(0, len(queries), step):
        chosen = range(first, min(first + step, len(queries)))
        padded = np.zeros((len(chosen), width, vectors.centroids.shape[1]), np.float32)
        for row, number in zip(padded, chosen, strict=True):
            row[: lengths[number]] = queries[number]
        valid = np.arange(width) < lengths[chosen.start : chosen.stop, None]
        passage_ids, scores = _search_batch(
            vectors,
            torch.from_numpy(padded).to(allowed.device),
            torch.from_numpy(valid).to(allowed.device),
            allowed,
            everything,
            k,
            probes,
            candidates,
        )
        results += _ranked(passage_ids, scores, k)
    return results


def _search_batch(
    vectors: DeviceVectors,
    queries: Tensor,
    valid: Tensor,
    allowed: Tensor,
    everything: Tensor | None,
    k: int,
    probes: int,
    candidates: int,
) -> tuple[Tensor, Tensor]:
    """Return passages, ascending, (Q, C) int64, -1 for none, and their scores, (Q, C) float32.

    queries: (Q, WIDTH, D), rows of zeros where `valid`, (Q, WIDTH), is false. everything: the
    passages to score, or None where the centroids choose them.
    """
    count, width, _ = queries.shape
    table = queries @ vectors.centroids.T  # (Q, WIDTH, K)
    if everything is None:
        passage_ids = _candidates(vectors, table, valid, allowed, k, probes, candidates)
    else:
        passage_ids = everything.expand(count, -1).contiguous()
    scaled = queries * vectors.scale
    peak = scaled.abs().amax(2, keepdim=True).clamp(min=1e-20)
    factors = (vectors.step * peak / 127).squeeze(2)
    scores = torch.empty(passage_ids.shape, device=passage_ids.device)
    if passage_ids.shape[1]:
        rounded = _planes((scaled * 127 / peak).round(), vectors)
        _residual_kernel[(passage_ids.shape[1], count)](
            vectors.offsets, vectors.codes, vectors.residuals, vectors.buckets.half(),
            table.transpose(1, 2).contiguous(), rounded, factors, passage_ids, scores,
            passage_ids.shape[1], len(vectors.centroids),
            BYTES=vectors.residuals.shape[1], BYTE_WIDTH=rounded.shape[2], BITS=vectors.bits,
            WIDTH=width, ROWS=RESIDUAL_ROWS,
        )  # fmt: skip
    return passage_ids, scores


def _candidates(
    vectors: DeviceVectors,
    table: Tensor,
    valid: Tensor,
    allowed: Tensor,
    k: int,
    probes: int,
    candidates: int,
) -> Tensor:
    """Return the passages that the centroids rank best, ascending, (Q, candidates); -1 for none."""
    count, width, centroids = table.shape
    high = table.amax(2, keepdim=True)
    widest = (high - table.amin(2, keepdim=True)).amax(1, keepdim=True).clamp(min=1e-20)
    levels = (255.5 + (table - high) * (255 / widest)).clamp_(min=0).floor_()
    levels *= valid[..., None]
    least = levels.topk(min(probes, centroids), dim=2).values[..., -1:]
    probed = ((levels >= least) & valid[..., None]).any(1)  # (Q, K)
    passages = len(allowed)
    sums = torch.empty(count, passages, dtype=torch.int32, device=table.device)
    reached = torch.empty(count, passages, dtype=torch.int8, device=table.device)
    _levels_kernel[(passages, count)](
        vectors.offsets, vectors.codes, levels.to(torch.uint8).transpose(1, 2).contiguous(),
        probed.view(torch.int8), sums, reached, passages, centroids,
        WIDTH=width, ROWS=LEVEL_ROWS,
    )  # fmt: skip
    eligible = reached.bool() & allowed
    eligible |= allowed & (eligible.sum(1, keepdim=True) < k)  # too few: all that are allowed
    # one number for the sum and the passage, the earlier of two equal ones first
    order = sums.long() * passages + torch.arange(passages - 1, -1, -1, device=table.device)
    best = torch.where(eligible, order, -1).topk(candidates, dim=1).values
    passage_ids = torch.where(best >= 0, passages - 1 - best % passages, -1)
    return passage_ids.sort(1).values


def _planes(rounded: Tensor, vectors: DeviceVectors) -> Tensor:
    """Split (Q, WIDTH, D) into (Q, planes, BYTE_WIDTH, WIDTH) float16: the factors of the first
    number of each byte of residuals, of the second, and so on; zeros where there is none."""
    count, width, dimension = rounded.shape
    planes, size = 8 // vectors.bits, vectors.residuals.shape[1]
    padded = torch.nn.functional.pad(rounded, (0, planes * size - dimension))
    split = padded.view(count, width, planes, size).permute(0, 2, 3, 1)
    byte_width = max(16, triton.next_power_of_2(size))
    return torch.nn.functional.pad(split, (0, 0, 0, byte_width - size)).half().contiguous()


def _ranked(passage_ids: Tensor, scores: Tensor, k: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the k best of each row, the earlier of two equal ones first, without empty ones."""
    best = scores.sort(dim=1, descending=True, stable=True)
    order = best.indices[:, :k]
    ranked = passage_ids.gather(1, order).cpu().numpy(), best.values[:, :k].cpu().numpy()
    return [(row[row >= 0], values[row >= 0]) for row, values in zip(*ranked, strict=True)]
