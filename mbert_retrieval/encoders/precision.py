"""Which precision to compute in."""

from __future__ import annotations

import os
import time
from functools import cache

import torch

from ..errors import InputError

VARIABLE = "MBERT_DTYPE"
GAIN = 1.5  # what bfloat16 must bring to be chosen
TOKENS, INPUTS, OUTPUTS = 256, 768, 2304  # a product as in ModernBERT-base: some milliseconds


def chosen_dtype(device: str) -> torch.dtype:
    """What the environment variable MBERT_DTYPE names, "float32" or "bfloat16". Without it bfloat16
    on CUDA, and where this processor multiplies matrices in bfloat16 at least GAIN times as fast as
    in float32 (which is measured, once a process); else float32.

    Raises InputError for another name.
    """
    named = os.environ.get(VARIABLE)
    if named:
        if named not in ("float32", "bfloat16"):
            raise InputError(f"{VARIABLE} is {named!r}: use float32 or bfloat16")
        return torch.float32 if named == "float32" else torch.bfloat16
    if device.startswith("cuda") or _gain_of_bfloat16() >= GAIN:
        return torch.bfloat16
    return torch.float32


@cache
def _gain_of_bfloat16() -> float:
    return _seconds(torch.float32) / _seconds(torch.bfloat16)


@torch.inference_mode()
def _seconds(dtype: torch.dtype) -> float:
    """The least of five tries."""
    x = torch.ones(TOKENS, INPUTS, dtype=dtype)
    weight = torch.ones(OUTPUTS, INPUTS, dtype=dtype)
    took = []
    for _ in range(5):
        started = time.perf_counter()
        torch.nn.functional.linear(x, weight)
        took.append(time.perf_counter() - started)
    return min(took)
