"""Attention over packed sequences.

On CUDA, half-precision inputs go to `flash_attn` where it is installed, or to torch's own varlen
kernel. On a CPU, float32 and bfloat16 go to our own kernel (`native/tiers/attention.h`), which has
a gradient, on those instruction-set tiers where it is faster. Everything else (dropout, float32 on
CUDA, tokens that no other attends to) runs through torch's SDPA by an `AttentionPlan`, which cuts
the packed batch into rectangular groups of nearly equal lengths. In a local layer it cuts sequences
into blocks of queries with the keys in their window, so that time and memory grow with N x window
and no N x N mask is ever built.
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
PLAIN_KEYS = 512  # the most keys for SDPA by plain products, training in bfloat16 on the CPU
LENGTH_SLACK = 0.85  # shortest to longest sequence of a group, at least


@dataclass(frozen=True)
class Group:
    """One rectangular SDPA call.

    Attributes:
        queries: Rows of the packed batch, (n, Lq) int64; padding repeats one.
        keys: Rows of the packed batch, (n, Lk) int64; padding repeats one.
        mask: (n, 1, Lq or 1, Lk) bool, True where a query attends to a key; None for everywhere.
    """

    queries: Tensor
    keys: Tensor
    mask: Tensor | None


@dataclass(frozen=True)
class AttentionPlan:
    """The SDPA calls that cover a packed batch.

    Attributes:
        groups: The calls.
        output_rows: Row of each packed token in the concatenated outputs of the calls, (N,) int64.
    """

    groups: list[Group]
    output_rows: Tensor


def plan_attention(
    cu_seqlens: Tensor, window: int | None, attended: Tensor | None = None
) -> AttentionPlan:
    """Cut a packed batch into SDPA calls.

    Args:
        cu_seqlens: Offsets of the sequences, (B + 1,) integers.
        window: How many tokens a token attends to on either side; None for all.
        attended: (N,) bool, False for tokens that none attends to, not even themselves.

    Returns:
        The calls.
    """
    device = cu_seqlens.device
    starts = cu_seqlens[:-1].long().cpu()
    lengths = cu_seqlens.diff().long().cpu()
    order = torch.argsort(lengths, descending=True, stable=True)
    order = order[lengths[order] > 0]
    short = order if window is None else order[lengths[order] <= BLOCK + 2 * window]
    long = order[: len(order) - len(short)]

    cuts = _sequence_groups(starts[short], lengths[short], window)
    if len(long):
        assert window is not None
        cuts += _block_groups(starts[long], lengths[long], window)

    total = int(cu_seqlens[-1])
    output_rows = torch.empty(total, dtype=torch.int64)
    groups, filled = [], 0
    for queries, keys, real, mask in cuts:
        flat_real = real.flatten()
        output_rows[queries.flatten()[flat_real]] = filled + flat_real.nonzero().squeeze(1)
        filled += queries.numel()
        keys = keys.to(device)
        mask = None if mask is None else mask.to(device)
        if attended is not None:
            visible = attended[keys][:, None, None, :]  # (n, 1, 1, Lk)
            mask = visible if mask is None else mask & visible
        groups.append(Group(queries.to(device), keys, mask))
    return AttentionPlan(groups, output_rows.to(device))


def _sequence_groups(starts: Tensor, lengths: Tensor, window: int | None) -> list[tuple]:
    """Group undivided sequences, longest first, for calls with L x L scores.

    With a window, none is longer than the keys of one block.
    """
    cuts = []
    sizes = lengths.tolist()
    first = 0
    while first < len(sizes):
        longest = sizes[first]
        last = first
        while last < len(sizes) and sizes[last] >= LENGTH_SLACK * longest:
            last += 1
        index = torch.arange(longest).expand(last - first, -1)  # (n, L)
        length = lengths[first:last, None]
        real = index < length
        tokens = starts[first:last, None] + torch.minimum(index, length - 1)
        mask = None if bool(real.all()) else real[:, None, None, :]
        if window is not None and longest > window + 1:
            position = torch.arange(longest)
            near = (position[:, None] - position).abs() <= window  # (L, L)
            # a padding query may have no key in its window: let it attend to itself
            mask = (near & (real[:, None, :] | (position[:, None] == position)))[:, None]
        cuts.append((tokens, tokens, real, mask))
        first = last
    return cuts


def _block_groups(starts: Tensor, lengths: Tensor, window: int) -> list[tuple]:
    """Cut long sequences into blocks of queries, each with the keys in its window."""
    blocks = (lengths + BLOCK - 1) // BLOCK
    owner = torch.repeat_interleave(torch.arange(len(lengths)), blocks)
    nth = torch.arange(len(owner)) - torch.repeat_interleave(blocks.cumsum(0) - blocks, blocks)
    start, length = starts[owner, None], lengths[owner, None]  # (n, 1)
    query_index = nth[:, None] * BLOCK + torch.arange(BLOCK)  # (n, BLOCK)
    key_index = nth[:, None] * BLOCK + torch.arange(-window, BLOCK + window)
    real_query, real_key = query_index < length, (key_index >= 0) & (key_index < length)
    # padding queries repeat the sequence's last token, so that no row is without a key
    query_index = torch.minimum(query_index, length - 1)
    queries = start + query_index
    keys = start + key_index.clamp(min=0).minimum(length - 1)
    near = (query_index[:, :, None] - key_index[:, None, :]).abs() <= window
    mask = (near & real_key[:, None, :])[:, None]  # (n, 1, BLOCK, BLOCK + 2 window)
    return [
        (queries[i : i + MAX_BLOCKS], keys[i : i + MAX_BLOCKS], real_query[i : i + MAX_BLOCKS],
         mask[i : i + MAX_BLOCKS])
        for i in range(0, len(owner), MAX_BLOCKS)
    ]  # fmt: skip


def attend_by_plan(q: Tensor, k: Tensor, v: Tensor, plan: AttentionPlan, dropout: float) -> Tensor:
    """Run the SDPA calls of a plan. q, k, v: (N, heads, head_dim); returns the same shape."""
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
    return torch.cat(outputs).index_select(0, plan.output_rows)


def _fastest_sdpa(q: Tensor, group: Group) -> AbstractContextManager:
    """Choose plain matrix products where the flash kernel of the CPU is slow.

    Its backward in bfloat16 is: at 96 tokens, forward and backward take seven times as long as with
    plain matrix products (AVX-512 bf16, two cores).
    """
    training = q.dtype == torch.bfloat16 and torch.is_grad_enabled()
    if q.device.type == "cpu" and training and group.keys.shape[1] <= PLAIN_KEYS:
        return sdpa_kernel(SDPBackend.MATH)
    return nullcontext()


def _gather(x: Tensor, rows: Tensor) -> Tensor:
    """Select (n, L) rows of x, (N, heads, head_dim); returns (n, heads, L, head_dim)."""
    selected = x.index_select(0, rows.flatten())
    return selected.view(*rows.shape, *x.shape[1:]).transpose(1, 2)


def has_cpu_kernel(device: torch.device, dtype: torch.dtype, head_dim: int) -> bool:
    """Tell whether `attend_on_cpu` takes these inputs and is faster than SDPA."""
    from ..native import kernels

    return (
        device.type == "cpu"
        and kernels.ATTENTION_IS_FAST
        and dtype in (torch.float32, torch.bfloat16)
        and head_dim % 16 == 0
        and head_dim <= 256
    )


def attend_on_cpu(qkv: Tensor, cos_sin: Tensor, cu_seqlens: Tensor, window: int | None) -> Tensor:
    """Rotate queries and keys of a packed batch and attend, in float32.

    The gradient needs nothing but `qkv`: it computes the scores again, as Dao et al. 2022 do.

    Args:
        qkv: (N, 3, heads, head_dim) float32 or bfloat16, not rotated yet.
        cos_sin: The rotations, (2, N, 1, head_dim / 2); see `rotary.rotation`.
        cu_seqlens: Offsets of the sequences, (B + 1,).
        window: How many tokens a token attends to on either side; None for all.

    Returns:
        (N, heads, head_dim), differentiable with respect to `qkv`.
    """
    out: Tensor = _CpuAttention.apply(qkv, cos_sin, cu_seqlens, window)
    return out


class _CpuAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx, qkv: Tensor, cos_sin: Tensor, cu_seqlens: Tensor, window: int | None
    ) -> Tensor:
        from ..native import kernels

        ctx.save_for_backward(qkv, cos_sin, cu_seqlens)
        ctx.window = window
        bits = as_array(qkv)
        return from_array(kernels.attend(bits, *_loop_arguments(cos_sin, cu_seqlens, window)))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_output: Tensor) -> tuple[Tensor, None, None, None]:
        from ..native import kernels

        qkv, cos_sin, cu_seqlens = ctx.saved_tensors
        arguments = _loop_arguments(cos_sin, cu_seqlens, ctx.window)
        grad = kernels.attend_backward(as_array(grad_output), as_array(qkv), *arguments)
        return from_array(grad), None, None, None


def _loop_arguments(cos_sin: Tensor, cu_seqlens: Tensor, window: int | None) -> tuple:
    cosine, sine = cos_sin.float().squeeze(2).numpy()
    span = -1 if window is None else window
    return cosine, sine, cu_seqlens.long().numpy(), span, torch.get_num_threads()


def as_array(x: Tensor) -> np.ndarray:
    """Convert to what the compiled loops take: float32, or the bits of bfloat16 as uint16."""
    x = x.detach().contiguous()
    return x.numpy() if x.dtype == torch.float32 else x.view(torch.uint16).numpy()


def from_array(x: np.ndarray) -> Tensor:
    """Convert what the compiled loops return; the inverse of `as_array`."""
    tensor = torch.from_numpy(x)
    return tensor if tensor.dtype == torch.float32 else tensor.view(torch.bfloat16)


@cache
def _varlen_kernel() -> str | None:
    """Return the name of the packed CUDA kernel that is installed, None without one."""
    try:
        # the package flash-attn-4 has the module, but not this function
        from flash_attn import flash_attn_varlen_func  # noqa: F401

        return "flash_attn"
    except ImportError:
        pass
    try:
        from torch.nn.attention import varlen  # noqa: F401

        return "torch"
    except ImportError:
        return None


def has_varlen_kernel(device: torch.device, dtype: torch.dtype, dropout: bool = False) -> bool:
    """Tell whether packed sequences go to a CUDA kernel, without a plan.

    Torch's own kernel has no dropout.
    """
    if device.type != "cuda" or dtype not in (torch.float16, torch.bfloat16):
        return False
    kernel = _varlen_kernel()
    return kernel == "flash_attn" or (kernel == "torch" and not dropout)


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
    """Compute softmax attention within each packed sequence, scaled by head_dim ** -0.5.

    Args:
        q: Queries, (N, heads, head_dim).
        k: Keys, (N, heads, head_dim).
        v: Values, (N, heads, head_dim).
        cu_seqlens: Offsets of the sequences, (B + 1,) int32 on the same device.
        max_seqlen: The longest sequence, in tokens.
        window: How many tokens a token attends to on either side, besides itself; None for all.
        plan: The SDPA plan for this window; None sends the batch to the CUDA kernel.
        dropout: Probability of dropping a score.

    Returns:
        (N, heads, head_dim).
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
    assert isinstance(out, Tensor)  # a tuple only when statistics are requested
    return out
