"""Kind "faiss": one vector a passage, an exact inner-product FAISS index a segment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..packed import Packed
from .arrays import load_packed

FILE = "index.faiss"
ADD_ROWS = 65536


def build(folder: Path, passages: int, vectors: int, dimension: int) -> None:
    """Put a FAISS index in the place of `vectors.npy` and `offsets.npy`."""
    import faiss

    rows = load_packed(folder, passages, vectors, dimension).values
    index = faiss.IndexFlatIP(dimension)
    for first in range(0, len(rows), ADD_ROWS):
        index.add(rows[first : first + ADD_ROWS])
    faiss.write_index(index, str(folder / FILE))
    (folder / "vectors.npy").unlink()
    (folder / "offsets.npy").unlink()


def load(folder: Path, passages: int, vectors: int, dimension: int) -> FaissVectors:
    """The vectors stay in the file. Raises InputError naming it when it is damaged."""
    import faiss

    file = folder / FILE
    try:
        index = faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError:
        raise InputError(f"{file} is damaged: FAISS cannot read it") from None
    if (index.ntotal, index.d) != (passages, dimension):
        raise InputError(f"{file} is damaged: it holds another number of vectors")
    return FaissVectors(index)


@dataclass(frozen=True)
class FaissVectors:
    index: Any

    def search(
        self, queries: Packed, live: np.ndarray, k: int
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """As `flat.FlatVectors.search`, but which of several that tie with the k-th are returned
        is left to FAISS."""
        import faiss

        parameters = None
        if not live.all():
            selector: Any = faiss.IDSelectorBitmap  # its stubs describe the C++ signature
            settings: Any = faiss.SearchParameters
            parameters = settings(sel=selector(np.packbits(live, bitorder="little")))
        count = min(k, int(live.sum()))
        if count == 0:
            return [(np.zeros(0, np.int64), np.zeros(0, np.float32))] * len(queries)
        scores, places = self.index.search(queries.values, count, params=parameters)
        return list(zip(places, scores, strict=True))
