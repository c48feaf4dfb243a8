"""Tensors of a safetensors file as numpy arrays, without torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError

# bfloat16, which numpy lacks, is held as its bits
STORED_AS = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16}


@dataclass(frozen=True)
class StoredArray:
    """One tensor as it is stored. raw: bfloat16 as uint16 bits; kind: "F32" and so on."""

    raw: np.ndarray
    kind: str

    @property
    def shape(self) -> tuple[int, ...]:
        return self.raw.shape

    def float32(self, rows: np.ndarray | None = None) -> np.ndarray:
        """All of it, or the given rows of it, C-contiguous."""
        raw = self.raw if rows is None else self.raw[rows]
        if self.kind == "BF16":
            return (raw.astype(np.uint32) << 16).view(np.float32)
        return np.ascontiguousarray(raw, dtype=np.float32)


class UnknownDtype(Exception):
    """A tensor is stored in a type that numpy cannot hold."""


def read_arrays(path: Path) -> dict[str, StoredArray]:
    """The tensors of one file, by name.

    They are copied to memory: under a map, a file that is written anew would end the process.
    Raises InputError for a missing, truncated or foreign file, UnknownDtype for int8 and the like.
    """
    from safetensors import SafetensorError, safe_open

    arrays = {}
    try:
        with safe_open(path, framework="numpy"):  # checks the header, and that the data is whole
            pass
        with path.open("rb") as file:
            start = 8 + int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(start - 8))
            header.pop("__metadata__", None)
            for name, entry in header.items():
                kind, (first, last) = entry["dtype"], entry["data_offsets"]
                if kind not in STORED_AS:
                    raise UnknownDtype(f"{path}: tensor {name} is stored as {kind}")
                raw = np.empty(entry["shape"], STORED_AS[kind])
                file.seek(start + first)
                if file.readinto(raw.reshape(-1).view(np.uint8).data) != last - first:
                    raise OSError("it ends early")
                arrays[name] = StoredArray(raw, kind)
    except FileNotFoundError:
        raise InputError(f"{path.parent}: {path.name} is missing") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: truncated or not a safetensors file ({error})") from error
    return arrays


class Weights(Mapping[str, np.ndarray]):
    """Arrays under the names that a network gives them, as float32 when they are asked for.

    Raises InputError, as filling a network does, for the first missing, unexpected or wrong-shaped
    one.
    """

    def __init__(
        self,
        arrays: Mapping[str, StoredArray],
        expected: Mapping[str, tuple[int, ...]],
        where: Path | str,
    ) -> None:
        check_tensors({name: array.shape for name, array in arrays.items()}, expected, where)
        self._arrays = arrays

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name].float32()

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def rows(self, name: str) -> Callable[[np.ndarray], np.ndarray]:
        """A function that gives rows of a matrix as float32; the rest stays as it is stored."""
        return self._arrays[name].float32


def check_tensors(
    found: Mapping[str, tuple[int, ...]],
    expected: Mapping[str, tuple[int, ...]],
    where: Path | str,
) -> None:
    """Compare a checkpoint's tensors with those that a network has: {name: shape}.

    Raises InputError that names the first missing, unexpected or wrong-shaped tensor.
    """
    missing, unexpected = sorted(expected.keys() - found), sorted(found.keys() - expected)
    for problem, names in (("lacks", missing), ("has an unknown", unexpected)):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise InputError(f"{where}: the checkpoint {problem} tensor {names[0]}{more}")
    for name, shape in found.items():
        if shape != expected[name]:
            raise InputError(
                f"{where}: {name} has shape {shape}, config.json asks for {expected[name]}"
            )
