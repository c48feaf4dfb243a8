"""Read tensors of a safetensors file as numpy arrays, without torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError

# bfloat16, which numpy lacks, is read as its bits
NUMPY_DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16}
NOT_FLOATING = ("BOOL", "I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64")


@dataclass(frozen=True)
class StoredArray:
    """One tensor as it is stored.

    Attributes:
        raw: Its values; bfloat16 as uint16 bits.
        dtype: The name of its type in the safetensors format: "F32", "BF16" and so on.
    """

    raw: np.ndarray
    dtype: str

    @property
    def shape(self) -> tuple[int, ...]:
        return self.raw.shape

    def float32(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Return the tensor, or some of its rows, as C-contiguous float32."""
        raw = self.raw if rows is None else self.raw[rows]
        if self.dtype == "BF16":
            return (raw.astype(np.uint32) << 16).view(np.float32)
        return np.ascontiguousarray(raw, dtype=np.float32)


class UnknownDtype(Exception):
    """A tensor is stored in a type that numpy cannot hold."""


def read_arrays(path: Path) -> dict[str, StoredArray]:
    """Read the tensors of one file.

    They are copied to memory: were they memory-mapped, writing to the file would end the process.

    Args:
        path: A safetensors file.

    Returns:
        The tensors by name.

    Raises:
        InputError: When the file is missing, truncated or of another format.
        UnknownDtype: For float8 and other types that numpy cannot represent.
    """
    from safetensors import SafetensorError, safe_open

    arrays = {}
    try:
        with safe_open(path, framework="numpy"):  # checks the header, and that the data is complete
            pass
        with path.open("rb") as file:
            start = 8 + int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(start - 8))
            header.pop("__metadata__", None)
            for name, entry in header.items():
                dtype, (first, last) = entry["dtype"], entry["data_offsets"]
                if dtype in NOT_FLOATING:
                    raise InputError(f"{path}: tensor {name} is stored as {dtype}, not as floats")
                if dtype not in NUMPY_DTYPES:
                    raise UnknownDtype(f"{path}: tensor {name} is stored as {dtype}")
                raw = np.empty(entry["shape"], NUMPY_DTYPES[dtype])
                file.seek(start + first)
                if file.readinto(raw.reshape(-1).view(np.uint8).data) != last - first:
                    raise OSError("it ends early")
                arrays[name] = StoredArray(raw, dtype)
    except FileNotFoundError:
        raise InputError(f"{path.parent}: {path.name} is missing") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: truncated or not a safetensors file ({error})") from error
    return arrays


class Weights(Mapping[str, np.ndarray]):
    """Tensors under the names that a network gives them, converted to float32 at each access.

    Args:
        arrays: The tensors as they are stored.
        expected: The shapes that the network needs, by name.
        where: Folder or file that an error message names.

    Raises:
        InputError: Names the first missing, unexpected or wrong-shaped tensor.
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
        """Return a function that converts rows of a matrix to float32, and only those."""
        return self._arrays[name].float32


def check_tensors(
    stored: Mapping[str, tuple[int, ...]],
    expected: Mapping[str, tuple[int, ...]],
    where: Path | str,
) -> None:
    """Compare the shapes of a checkpoint's tensors with those that a network needs.

    Args:
        stored: The checkpoint's shapes, by name.
        expected: The network's shapes, by name.
        where: Folder or file that an error message names.

    Raises:
        InputError: Names the first missing, unexpected or wrong-shaped tensor.
    """
    missing, unexpected = sorted(expected.keys() - stored), sorted(stored.keys() - expected)
    for problem, names in (("lacks", missing), ("has an unknown", unexpected)):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise InputError(f"{where}: the checkpoint {problem} tensor {names[0]}{more}")
    for name, shape in stored.items():
        if shape != expected[name]:
            raise InputError(
                f"{where}: {name} has shape {shape}, config.json requires {expected[name]}"
            )
