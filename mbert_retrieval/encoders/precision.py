"""Choose the precision that the network computes in."""

from __future__ import annotations

import os
import time
from functools import cache

import torch

from ..backbone.int8 import has_int8_products, int8_is_fast
from ..errors import InputError

VARIABLE = "MBERT_DTYPE"
NAMES = ("float32", "bfloat16", "float16", "int8")
GAIN = 1.5  # the least speed-up for which bfloat16 is chosen
TOKENS, INPUTS, OUTPUTS = (
    256,
    768,
    2304,
)  # a matrix product as in ModernBERT-base: some milliseconds


def precision_of(dtype: torch.dtype | str, device: str, source: str = "dtype") -> str:
    """Return the name of a precision.

    Args:
        dtype: A torch dtype, or one of NAMES.
        device: Where the network runs, as torch names it.
        source: What an error message calls the setting.

    Returns:
        One of NAMES.

    Raises:
        InputError: For another precision, and for int8 on another device than the CPU or without
            the compiled kernels.
    """
    name = dtype if isinstance(dtype, str) else str(dtype).removeprefix("torch.")
    if name not in NAMES:
        raise InputError(f"{source} is {name!r}: use one of {', '.join(NAMES)}")
    if name == "int8" and not (device == "cpu" and has_int8_products()):
        raise InputError(
            f"{source} is int8, which needs the device cpu and the compiled kernels: "
            "use another precision"
        )
    return name


def chosen_precision(device: str, int8_holds: bool) -> str:
    """Return the precision in the environment variable MBERT_DTYPE, else the fastest one.

    The fastest is bfloat16 on CUDA. On the CPU it is int8 where that is fast and `int8_holds`;
    bfloat16 where the processor multiplies bfloat16 matrices at least GAIN times as fast as
    float32 ones, which is measured once per process; else float32.

    Args:
        device: Where the network runs, as torch names it.
        int8_holds: Whether the model was measured to rank as well in int8.

    Returns:
        One of NAMES.

    Raises:
        InputError: When MBERT_DTYPE names a precision that cannot be used.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return precision_of(named, device, VARIABLE)
    if device.startswith("cuda"):
        return "bfloat16"
    if int8_holds and int8_is_fast():
        return "int8"
    return "bfloat16" if gain_of_bfloat16() >= GAIN else "float32"


@cache
def gain_of_bfloat16() -> float:
    """Return how much faster this processor multiplies bfloat16 matrices than float32 ones."""
    return _seconds(torch.float32) / _seconds(torch.bfloat16)


@torch.inference_mode()
def _seconds(dtype: torch.dtype) -> float:
    """Return the shortest of five runs of a matrix product."""
    x = torch.ones(TOKENS, INPUTS, dtype=dtype)
    weight = torch.ones(OUTPUTS, INPUTS, dtype=dtype)
    durations = []
    for _ in range(5):
        started = time.perf_counter()
        torch.nn.functional.linear(x, weight)
        durations.append(time.perf_counter() - started)
    return min(durations)
