"""Rotary position embedding (Su et al. 2021), rotating halves as ModernBERT does."""

from __future__ import annotations

from functools import cache
from types import ModuleType

import torch
from torch import Tensor


def rotation(positions: Tensor, head_dim: int, theta: float, dtype: torch.dtype) -> Tensor:
    """Compute cosines and sines of each token's rotation angles.

    Args:
        positions: Position of each token in its sequence, (N,) integers.
        head_dim: Width of an attention head.
        theta: Base of the frequencies.
        dtype: Type of the result. Angles are computed in float32 and rounded afterwards, as the
            reference does in bfloat16.

    Returns:
        Cosines and sines, (2, N, 1, head_dim // 2).
    """
    exponents = torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32)
    frequencies = 1.0 / theta ** (exponents / head_dim)
    angles = positions.float()[:, None] * frequencies  # (N, head_dim / 2)
    return torch.stack((angles.cos(), angles.sin())).to(dtype)[:, :, None, :]


def rotate(x: Tensor, cos_sin: Tensor) -> Tensor:
    """Rotate queries or keys, (N, heads, head_dim), in float32; returns their own dtype."""
    cos, sin = cos_sin
    first, second = x.float().chunk(2, dim=-1)  # (N, heads, head_dim / 2) each
    rotated = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
    return rotated.to(x.dtype)


def rotate_qkv(qkv: Tensor, cos_sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Split (N, 3, heads, head_dim) into rotated queries and keys, and values.

    Each is (N, heads, head_dim). `qkv` may be overwritten where no gradient is wanted.
    """
    if layers := fused_layers(qkv):
        return layers.rotate_packed(qkv, cos_sin)
    q, k, v = qkv.unbind(1)
    return rotate(q, cos_sin), rotate(k, cos_sin), v


def fused_layers(x: Tensor) -> ModuleType | None:
    """Return `cuda_layers` for tensors on CUDA where Triton is installed."""
    return _cuda_layers() if x.is_cuda else None


@cache
def _cuda_layers() -> ModuleType | None:
    try:
        from . import cuda_layers
    except ImportError:
        return None
    return cuda_layers
