"""Attention over packed sequences: every kernel behind `attend`.

On CUDA, half-precision inputs go to `flash_attn` where it is installed, or to torch's own varlen
kernel. On a CPU with AVX-512, float32 and bfloat16 go to `native/attention.cpp`,
with its gradient. Everything else (dropout, float32 on CUDA, tokens that nobody may attend to) runs
through SDPA by an `AttentionPlan`, which cuts the packed batch into rectangular groups of nearly
equal lengths. For a local layer it cuts sequences into blocks of queries beside the keys they can
see, so that time and memory grow with N x window and no N x N mask is ever built.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

BLOCK = 64  # queries in a block of a local layer
MAX_BLOCKS = 64  # blocks of one SDPA call: bounds the copy of overlapping keys
PLAIN_KEYS = 512  # up to here scores may be held whole while training in bfloat16 on the CPU
LENGTH_SLACK = 0.85  # a group holds sequences at least this share of its longest one


@dataclass(frozen=True)
class Group:
    """One rectangular SDPA call.

    queries: (n, Lq) and keys: (n, Lk), int64 positions in the packed batch (padding repeats one).
    mask: (n, 1, Lq or 1, Lk) bool, True where a query may see a key; None when all are seen.
    """

    queries: Tensor
    keys: Tensor
    mask: Tensor | None


@dataclass(frozen=True)
class AttentionPlan:
    """The SDPA calls that cover a packed batch.

    home: (N,) int64, where each packed token's output lies in the calls' outputs laid end to end.
    """

    groups: list[Group]
    home: Tensor


def plan_attention(
    cu_seqlens: Tensor, window: int | None, attended: Tensor | None = None
) -> AttentionPlan:
    """Cut a packed batch into SDPA calls.

    cu_seqlens: (B + 1,) integers. window: how far a token sees to either side; None for all.
    attended: (N,) bool, False for tokens that no query may see (their own included).
    """
    device = cu_seqlens.device
    starts = cu_seqlens[:-1].long().cpu()
    lengths = cu_seqlens.diff().long().cpu()
    order = torch.argsort(lengths, descending=True, stable=True)
    order = order[lengths[order] > 0]
    whole = order if window is None else order[lengths[order] <= BLOCK + 2 * window]
    blocked = order[: len(order) - len(whole)]

    cuts = _whole_groups(starts[whole], lengths[whole], window)
    if len(blocked):
        assert window is not None
        cuts += _block_groups(starts[blocked], lengths[blocked], window)

    total = int(cu_seqlens[-1])
    home = torch.empty(total, dtype=torch.int64)
    groups, filled = [], 0
    for queries, keys, real, mask in cuts:
        flat_real = real.flatten()
        home[queries.flatten()[flat_real]] = filled + flat_real.nonzero().squeeze(1)
        filled += queries.numel()
        keys = keys.to(device)
        mask = None if mask is None else mask.to(device)
        if attended is not None:
            seen = attended[keys][:, None, None, :]  # (n, 1, 1, Lk)
            mask = seen if mask is None else mask & seen
        groups.append(Group(queries.to(device), keys, mask))
    return AttentionPlan(groups, home.to(device))


def _whole_groups(starts: Tensor, lengths: Tensor, window: int | None) -> list[tuple]:
    """Sequences, longest first, in groups of L x L scores (no longer than one block sees, where
    there is a window)."""
    cuts = []
    sizes = lengths.tolist()
    first = 0
    while first < len(sizes):
        longest = sizes[first]
        last = first
        while last < len(sizes) and sizes[last] >= LENGTH_SLACK * longest:
            last += 1
        place = torch.arange(longest).expand(last - first, -1)  # (n, L)
        own = lengths[first:last, None]
        real = place < own
        tokens = starts[first:last, None] + torch.minimum(place, own - 1)
        mask = None if bool(real.all()) else real[:, None, None, :]
        if window is not None and longest > window + 1:
            at = torch.arange(longest)
            near = (at[:, None] - at).abs() <= window  # (L, L)
            # a padding query stands past its sequence's window: let it see itself
            mask = (near & (real[:, None, :] | (at[:, None] == at)))[:, None]
        cuts.append((tokens, tokens, real, mask))
        first = last
    return cuts


def _block_groups(starts: Tensor, lengths: Tensor, window: int) -> list[tuple]:
    """Sequences longer than the window: blocks of queries, each beside the keys it can see."""
    blocks = (lengths + BLOCK - 1) // BLOCK
    owner = torch.repeat_interleave(torch.arange(len(lengths)), blocks)
    nth = torch.arange(len(owner)) - torch.repeat_interleave(blocks.cumsum(0) - blocks, blocks)
    start, length = starts[owner, None], lengths[owner, None]  # (n, 1)
    query_place = nth[:, None] * BLOCK + torch.arange(BLOCK)  # (n, BLOCK)
    key_place = nth[:, None] * BLOCK + torch.arange(-window, BLOCK + window)
    real_query, real_key = query_place < length, (key_place >= 0) & (key_place < length)
    # padding queries stand in for the sequence's last token, so that no row is without a key
    query_place = torch.minimum(query_place, length - 1)
    queries = start + query_place
    keys = start + key_place.clamp(min=0).minimum(length - 1)
    near = (query_place[:, :, None] - key_place[:, None, :]).abs() <= window
    mask = (near & real_key[:, None, :])[:, None]  # (n, 1, BLOCK, BLOCK + 2 window)
    return [
        (queries[i : i + MAX_BLOCKS], keys[i : i + MAX_BLOCKS], real_query[i : i + MAX_BLOCKS],
         mask[i : i + MAX_BLOCKS])
        for i in range(0, len(owner), MAX_BLOCKS)
    ]  # fmt: skip


def attend_by_plan(q: Tensor, k: Tensor, v: Tensor, plan: AttentionPlan, dropout: float) -> Tensor:
    """SDPA group by group. q, k, v: (N, heads, head_dim); returns the same shape."""
    outputs = []
    for group in plan.groups:
        n, length = group.queries.shape
        grouped_q = _gather(q, group.queries)
        grouped_k, grouped_v = _gather(k, group.keys), _gather(v, group.keys)
        with _fastest_sdpa(q, group):
            out = F.scaled_dot_product_attention(  # (n, heads, Lq, head_dim)
                grouped_q, grouped_k, grouped_v, attn_mask=group.mask, dropout_p=dropout
            )
        outputs.append(out.transpose(1, 2).reshape(n * length, *q.shape[1:]))
    return torch.cat(outputs).index_select(0, plan.home)


def _fastest_sdpa(q: Tensor, group: Group) -> AbstractContextManager:
    """The CPU's flash kernel has a slow backward in bfloat16: at 96 tokens, forward and backward
    take seven times as long as with plain matrix products (AVX-512 bf16, two cores)."""
    training = q.dtype == torch.bfloat16 and torch.is_grad_enabled()
    if q.device.type == "cpu" and training and group.keys.shape[1] <= PLAIN_KEYS:
        return sdpa_kernel(SDPBackend.MATH)
    return nullcontext()


def _gather(x: Tensor, places: Tensor) -> Tensor:
    """(N, heads, head_dim) at (n, L) places to (n, heads, L, head_dim)."""
    rows = x.index_select(0, places.flatten())
    return rows.view(*places.shape, *x.shape[1:]).transpose(1, 2)


def has_cpu_kernel(device: torch.device, dtype: torch.dtype, head_dim: int) -> bool:
    """Whether `attend_on_cpu` takes packed sequences as they are, and is faster than SDPA.

    Without AVX-512 the loop is not: on Zen 3 it encodes 26 texts per second with `nano`, SDPA 67.
    """
    return (
        device.type == "cpu"
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
        and dtype in (torch.float32, torch.bfloat16)
        and head_dim % 16 == 0
        and head_dim <= 256
    )


def attend_on_cpu(qkv: Tensor, cos_sin: Tensor, cu_seqlens: Tensor, window: int | None) -> Tensor:
    """Rotary embedding and attention of a packed batch, computed in float32.

    qkv: (N, 3, heads, head_dim) float32 or bfloat16, not yet rotated. cos_sin: (2, N, 1,
    head_dim / 2), see `rotary`. window as in `attend`. Returns (N, heads, head_dim), with a
    gradient by `qkv` that keeps nothing but `qkv` itself (it forms the scores again, as Dao et al.
    2022 do).
    """
    out: Tensor = _CpuAttention.apply(qkv, cos_sin, cu_seqlens, window)
    return out


class _CpuAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, qkv: Tensor, cos_sin: Tensor, cu_seqlens: Tensor, window: int | None
    ) -> Tensor:
        from ..native.attention import attend as attend_loop

        ctx.save_for_backward(qkv, cos_sin, cu_seqlens)
        ctx.window = window
        bits = as_array(qkv)
        return from_array(attend_loop(bits, *_loop_arguments(cos_sin, cu_seqlens, window)))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slopes: Tensor) -> tuple[Tensor, None, None, None]:
        from ..native.attention import attend_backward

        qkv, cos_sin, cu_seqlens = ctx.saved_tensors
        arguments = _loop_arguments(cos_sin, cu_seqlens, ctx.window)
        found = attend_backward(as_array(slopes), as_array(qkv), *arguments)
        return from_array(found), None, None, None


def _loop_arguments(cos_sin: Tensor, cu_seqlens: Tensor, window: int | None) -> tuple:
    cosine, sine = cos_sin.float().squeeze(2).numpy()
    span = -1 if window is None else window
    return cosine, sine, cu_seqlens.long().numpy(), span, torch.get_num_threads()


def as_array(x: Tensor) -> np.ndarray:
    """What the compiled loops take: float32, or the bits of bfloat16 as uint16."""
    x = x.detach().contiguous()
    return x.numpy() if x.dtype == torch.float32 else x.view(torch.uint16).numpy()


def from_array(x: np.ndarray) -> Tensor:
    found = torch.from_numpy(x)
    return found if found.dtype == torch.float32 else found.view(torch.bfloat16)


@cache
def _varlen_kernel() -> str | None:
    """Which packed CUDA kernel this machine has."""
    try:
        import flash_attn  # noqa: F401

        return "flash_attn"
    except ImportError:
        pass
    try:
        from torch.nn.attention import varlen  # noqa: F401

        return "torch"
    except ImportError:
        return None


def has_varlen_kernel(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether packed sequences go to a CUDA kernel as they are, without a plan."""
    half = dtype in (torch.float16, torch.bfloat16)
    return device.type == "cuda" and half and _varlen_kernel() is not None


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens: Tensor,
    max_seqlen: int,
    window: int | None,
    plan: AttentionPlan | None,
    dropout: float = 0.0,
) -> Tensor:
    """Softmax attention within each packed sequence, scaled by head_dim ** -0.5.

    q, k, v: (N, heads, head_dim). cu_seqlens: (B + 1,) int32 on the same device.
    window: tokens seen to either side (the token itself always is), None for all.
    plan: the SDPA plan for this window; None sends the batch to the CUDA kernel.
    Returns (N, heads, head_dim).
    """
    if plan is not None:
        return attend_by_plan(q, k, v, plan, dropout)
    span = (-1, -1) if window is None else (window, window)
    if _varlen_kernel() == "flash_attn":
        from flash_attn import flash_attn_varlen_func

        return flash_attn_varlen_func(
            q, k, v, cu_seqlens, cu_seqlens, max_seqlen, max_seqlen,
            dropout_p=dropout, window_size=span,
        )  # fmt: skip
    from torch.nn.attention.varlen import varlen_attn

    out = varlen_attn(q, k, v, cu_seqlens, cu_seqlens, max_seqlen, max_seqlen, window_size=span)
    assert isinstance(out, Tensor)  # a tuple only when asked for its statistics
    return out
