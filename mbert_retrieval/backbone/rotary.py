"""Rotary position embedding (Su et al. 2021), rotating halves as ModernBERT does."""

from __future__ import annotations

import torch
from torch import Tensor


def rotation(positions: Tensor, head_dim: int, theta: float, dtype: torch.dtype) -> Tensor:
    """Cosines and sines of each token's rotation angles.

    positions: (N,) integers. Returns (2, N, 1, head_dim // 2) in `dtype`: the angles are computed
    in float32 and only then rounded, as the reference does under bfloat16.
    """
    exponents = torch.arange(0, head_dim, 2, device=positions.device, dtype=torch.float32)
    frequencies = 1.0 / theta ** (exponents / head_dim)
    angles = positions.float()[:, None] * frequencies  # (N, head_dim / 2)
    return torch.stack((angles.cos(), angles.sin())).to(dtype)[:, :, None, :]


def rotate(x: Tensor, cos_sin: Tensor) -> Tensor:
    """Rotate queries or keys, (N, heads, head_dim): in float32, returned in their own dtype."""
    cos, sin = cos_sin
    first, second = x.float().chunk(2, dim=-1)  # (N, heads, head_dim / 2) each
    turned = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
    return turned.to(x.dtype)
