"""What lies between a layer's matrix products on CUDA, in Triton: one pass over memory each.

Eager torch reads and writes a layer's queries and keys a dozen times in float32 to rotate them. In
transformers' model, which does, such passes take longer than the products. Arithmetic is in
float32, and results have the dtype of their inputs. Both functions have gradients.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

ROTATED_ROWS = 32  # heads of tokens in a program
GATED_COLUMNS = 512  # of a token in a program


@triton.jit
def _rotate_rows(
    source, target, cos, sin, source_at, target_at, real, sign, HALF: tl.constexpr
):  # fmt: skip
    first = tl.load(source + source_at, real, other=0.0).to(tl.float32)
    second = tl.load(source + source_at + HALF, real, other=0.0).to(tl.float32)
    tl.store(target + target_at, first * cos - sign * second * sin, real)
    tl.store(target + target_at + HALF, second * cos + sign * first * sin, real)


@triton.jit
def _rotate_kernel(
    q, k, v, to_q, to_k, to_v, cosine, sine, tokens, source_stride, target_stride, sign,
    HEADS: tl.constexpr, HALF: tl.constexpr, WIDTH: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    token, head = row // HEADS, row % HEADS
    column = tl.arange(0, WIDTH)
    real = (token < tokens)[:, None] & (column < HALF)[None, :]
    within = (head * 2 * HALF)[:, None] + column[None, :]
    source_at = (token * source_stride)[:, None] + within
    target_at = (token * target_stride)[:, None] + within
    part = tl.program_id(1)
    if part == 2:
        for half in tl.static_range(2):
            copied = tl.load(v + source_at + half * HALF, real, other=0.0)
            tl.store(to_v + target_at + half * HALF, copied, real)
    else:
        angle_at = (token * HALF)[:, None] + column[None, :]
        cos = tl.load(cosine + angle_at, real, other=0.0).to(tl.float32)
        sin = tl.load(sine + angle_at, real, other=0.0).to(tl.float32)
        if part == 0:
            _rotate_rows(q, to_q, cos, sin, source_at, target_at, real, sign, HALF)
        else:
            _rotate_rows(k, to_k, cos, sin, source_at, target_at, real, sign, HALF)


@triton.jit
def _geglu_kernel(both, out, columns, COLUMNS: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    real = column < columns
    a = tl.load(both + row * 2 * columns + column, real, other=0.0).to(tl.float32)
    gate = tl.load(both + (row * 2 + 1) * columns + column, real, other=0.0).to(tl.float32)
    share = 0.5 + 0.5 * tl.erf(a * 0.7071067811865476)
    tl.store(out + row * columns + column, a * share * gate, real)


@triton.jit
def _geglu_slope_kernel(both, slopes, out, columns, COLUMNS: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    real = column < columns
    at_a, at_gate = row * 2 * columns + column, (row * 2 + 1) * columns + column
    a = tl.load(both + at_a, real, other=0.0).to(tl.float32)
    gate = tl.load(both + at_gate, real, other=0.0).to(tl.float32)
    slope = tl.load(slopes + row * columns + column, real, other=0.0).to(tl.float32)
    share = 0.5 + 0.5 * tl.erf(a * 0.7071067811865476)
    density = 0.3989422804014327 * tl.exp(-0.5 * a * a)
    tl.store(out + at_a, slope * gate * (share + a * density), real)
    tl.store(out + at_gate, slope * a * share, real)


def rotate_packed(qkv: Tensor, cos_sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rotated queries and keys, and values, (N, heads, head_dim) each.

    qkv: (N, 3, heads, head_dim) contiguous; overwritten unless a gradient is wanted. cos_sin:
    (2, N, 1, head_dim / 2), see `rotary.rotation`.
    """
    if torch.is_grad_enabled() and qkv.requires_grad:
        return _Rotation.apply(qkv, cos_sin)
    q, k, v = qkv.unbind(1)
    _launch_rotation((q, k), (q, k), cos_sin, 1.0)
    return q, k, v


class _Rotation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, cos_sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(cos_sin)
        q, k, v = (part.new_empty(part.shape) for part in qkv.unbind(1))
        out = q, k, v
        _launch_rotation(qkv.unbind(1), out, cos_sin, 1.0)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *slopes: Tensor) -> tuple[Tensor, None]:
        (cos_sin,) = ctx.saved_tensors
        tokens, heads, head_dim = slopes[0].shape
        out = slopes[0].new_empty(tokens, 3, heads, head_dim)
        whole = tuple(slope.contiguous() for slope in slopes)
        _launch_rotation(whole, out.unbind(1), cos_sin, -1.0)
        return out, None


def _launch_rotation(
    sources: tuple[Tensor, ...], targets: tuple[Tensor, ...], cos_sin: Tensor, sign: float
) -> None:
    """Queries, keys and perhaps values, which are copied; equal strides on each side."""
    tokens, heads, head_dim = sources[0].shape
    if tokens == 0:
        return
    last_source, last_target = sources[-1], targets[-1]  # stand in for values that are left out
    cosine, sine = cos_sin.contiguous()
    grid = (triton.cdiv(tokens * heads, ROTATED_ROWS), len(sources))
    _rotate_kernel[grid](
        *sources[:2], last_source, *targets[:2], last_target, cosine, sine, tokens,
        sources[0].stride(0), targets[0].stride(0), sign,
        HEADS=heads, HALF=head_dim // 2, WIDTH=triton.next_power_of_2(head_dim // 2),
        ROWS=ROTATED_ROWS,
    )  # fmt: skip


def geglu(both: Tensor) -> Tensor:
    """(N, 2 x I) to (N, I): the exact GELU of the left half times the right half."""
    out: Tensor = _GeGLU.apply(both.contiguous())
    return out


class _GeGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, both: Tensor) -> Tensor:
        ctx.save_for_backward(both)
        rows, columns = both.shape[0], both.shape[1] // 2
        out = both.new_empty(rows, columns)
        if rows:
            grid = (rows, triton.cdiv(columns, GATED_COLUMNS))
            _geglu_kernel[grid](both, out, columns, COLUMNS=GATED_COLUMNS, num_warps=2)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slopes: Tensor) -> Tensor:
        (both,) = ctx.saved_tensors
        rows, columns = slopes.shape
        out = torch.empty_like(both)
        if rows:
            grid = (rows, triton.cdiv(columns, GATED_COLUMNS))
            _geglu_slope_kernel[grid](
                both, slopes.contiguous(), out, columns, COLUMNS=GATED_COLUMNS, num_warps=2
            )
        return out
