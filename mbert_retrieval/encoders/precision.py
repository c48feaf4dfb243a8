"""Which precision to compute in."""

from __future__ import annotations

import os
import time
from functools import cache

import torch

from ..backbone.int8 import has_int8_products
from ..errors import InputError

VARIABLE = "MBERT_DTYPE"
NAMES = ("float32", "bfloat16", "float16", "int8")
GAIN = 1.5  # what bfloat16 must bring to be chosen
TOKENS, INPUTS, OUTPUTS = 256, 768, 2304  # a product as in ModernBERT-base: some milliseconds


def precision_of(dtype: torch.dtype | str, device: str, source: str = "dtype") -> str:
    """The name of a precision that was given as a dtype or by its name.

    Raises InputError for another one, and for int8 where there are no products of bytes.
    """
    name = dtype if isinstance(dtype, str) else str(dtype).removeprefix("torch.")
    if name not in NAMES:
        raise InputError(f"{source} is {name!r}: use {', '.join(NAMES)}")
    if name == "int8" and not (device == "cpu" and has_int8_products()):
        raise InputError(
            f"{source} is int8, which needs a processor with AVX-512 VNNI: use another"
        )
    return name


def chosen_precision(device: str, int8_holds: bool) -> str:
    """What the environment variable MBERT_DTYPE names, else the fastest for the device.

    On CUDA that is bfloat16. On the CPU it is int8 where the processor multiplies bytes and
    `int8_holds`, which says that the model was measured to rank as well with it; bfloat16 where
    this processor multiplies matrices in bfloat16 at least GAIN times as fast as in float32 (which
    is measured, once a process); else float32. Raises InputError as `precision_of`.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return precision_of(named, device, VARIABLE)
    if device.startswith("cuda"):
        return "bfloat16"
    if int8_holds and has_int8_products():
        return "int8"
    return "bfloat16" if _gain_of_bfloat16() >= GAIN else "float32"


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
