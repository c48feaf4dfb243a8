"""Compress the vectors of a segment, and merge several segments into one.

Vectors are streamed: in memory are a sample for k-means (at most SAMPLE_BYTES), a block of vectors,
the codes and the inverted lists (about 8 bytes per vector).

The codec of an older segment is reused (its files as hard links) as long as it fits: the collection
does not need more than twice its centroids, and its error on a sample of the new vectors is at most
DRIFT times its error on the vectors that it was fitted to.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeGuard

import numpy as np

from ...errors import InputError
from ...native import kernels
from ...packed import offsets_from_lengths
from .. import flat
from ..engine import MergeSource, SearchableVectors, VectorsWriter
from ..manifest import Leg
from .codec import BITS, FILES, Codec, fit_codec, load_codec
from .segment import PlaidVectors

DEFAULT_BITS = 4
EXACT_PASSAGES = 2000  # a segment of fewer passages is not compressed
DRIFT = 1.25
DRIFT_SAMPLE = 2**14  # new vectors on which the error of an older codec is measured
SAMPLE_PER_CENTROID = 32
SAMPLE_BYTES = 2**28
BLOCK_VECTORS = 2**16
MOST_DIMENSIONS, MOST_CENTROIDS = 1024, 2**24


def check(leg: Leg) -> None:
    """See `engine.Engine.check`. Settings: "nbits" and "centroids", both optional."""
    bits, count = leg.settings.get("nbits", DEFAULT_BITS), leg.settings.get("centroids")
    if bits not in BITS:
        raise InputError(f"nbits must be one of {', '.join(map(str, BITS))}, not {bits!r}")
    if count is not None and not (isinstance(count, int) and 1 <= count <= MOST_CENTROIDS):
        raise InputError(f"centroids must be from 1 to {MOST_CENTROIDS:,}, not {count!r}")
    if leg.encoder.dimension > MOST_DIMENSIONS:
        raise InputError(
            f"kind 'plaid' takes vectors of up to {MOST_DIMENSIONS} dimensions: use kind 'flat'"
        )


def build(folder: Path, leg: Leg, relatives: Sequence[Path]) -> None:
    """See `engine.Engine.build`."""
    offsets = np.load(folder / "offsets.npy", allow_pickle=False)
    passages = len(offsets) - 1
    if passages < EXACT_PASSAGES:
        return
    vectors = flat.load(folder, passages, int(offsets[-1]), leg.encoder.dimension)
    everything = MergeSource(folder, vectors, np.ones(passages, dtype=bool))
    _compress(folder, leg, [everything], relatives)
    (folder / "vectors.npy").unlink()


def merge(folder: Path, leg: Leg, sources: Sequence[MergeSource]) -> None:
    """See `engine.Engine.merge`. Codes of segments with the chosen codec are copied; other
    compressed vectors are decompressed and compressed again."""
    if sum(int(source.live.sum()) for source in sources) < EXACT_PASSAGES:
        writer = VectorsWriter(folder, leg.encoder.dimension)
        for source in sources:
            for first, last, rows in _blocks(_lengths(source.vectors), source.live):
                writer.append(source.vectors.read(first, last).select(rows))
        writer.finish()
        return
    largest_first = sorted(sources, key=lambda source: -len(source.live))
    _compress(folder, leg, sources, [source.folder for source in largest_first])


def centroid_count(vectors: int) -> int:
    """Return the default number of centroids: the power of two below 8 sqrt(vectors)."""
    return 2 ** max(0, math.floor(math.log2(8 * math.sqrt(max(1, vectors)))))


def _compress(
    folder: Path, leg: Leg, sources: Sequence[MergeSource], relatives: Sequence[Path]
) -> None:
    """Write all files of the segment. relatives: folders whose codec may be reused, best first."""
    bits = leg.settings.get("nbits", DEFAULT_BITS)
    lengths = np.concatenate([_lengths(source.vectors)[source.live] for source in sources])
    wanted = leg.settings.get("centroids") or centroid_count(int(lengths.sum()))
    codec = None
    for relative in relatives:
        if relative != folder and (relative / "codec.json").exists():
            older = load_codec(relative, leg.encoder.dimension)
            if older.bits == bits and _fits(older, wanted, leg, sources):
                codec = older
                _link(relative, folder)
            break
    if codec is None:
        rows = min(SAMPLE_PER_CENTROID * wanted, SAMPLE_BYTES // (4 * leg.encoder.dimension))
        codec = fit_codec(_sample(sources, max(rows, wanted)), wanted, bits)
        codec.save(folder)
    _write(folder, codec, lengths, _encoded(codec, sources))


def _fits(codec: Codec, wanted: int, leg: Leg, sources: Sequence[MergeSource]) -> bool:
    """Return whether an older codec can be reused for vectors that want so many centroids."""
    count = len(codec.centroids)
    if leg.settings.get("centroids") not in (None, count) or wanted > 2 * count:
        return False
    new = [source for source in sources if not _has_codec(source.vectors, codec)]
    return not new or codec.error_on(_sample(new, DRIFT_SAMPLE)) <= DRIFT * codec.error


def _has_codec(vectors: SearchableVectors, codec: Codec) -> TypeGuard[PlaidVectors]:
    return isinstance(vectors, PlaidVectors) and vectors.codec.same_as(codec)


def _encoded(
    codec: Codec, sources: Sequence[MergeSource]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield codes (n,) and residuals (n, bytes) of all live vectors, block by block."""
    for _, vectors, live in sources:
        lengths = _lengths(vectors)
        compressed = vectors if _has_codec(vectors, codec) else None
        for first, last, rows in _blocks(lengths, live):
            if compressed is not None:
                begin, end = compressed.offsets[first], compressed.offsets[last]
                mask = np.repeat(live[first:last], lengths[first:last])
                yield compressed.codes[begin:end][mask], compressed.residuals[begin:end][mask]
            else:
                yield codec.encode(vectors.read(first, last).select(rows).values)


def _write(
    folder: Path,
    codec: Codec,
    lengths: np.ndarray,
    blocks: Iterable[tuple[np.ndarray, np.ndarray]],
) -> None:
    """Write codes, residuals, offsets and inverted lists. lengths: (P,), vectors per passage."""
    total = int(lengths.sum())
    codes: np.ndarray = np.empty(total, dtype=codec.code_type)
    first = 0
    with open(folder / "residuals.npy", "wb") as file:
        shape = (total, codec.bytes_per_residual)
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for block, residuals in blocks:
            codes[first : first + len(block)] = block
            file.write(np.ascontiguousarray(residuals).data)
            first += len(block)
    offsets = offsets_from_lengths(lengths)
    bounds, lists = kernels.invert(codes, offsets, len(codec.centroids))
    arrays = {"offsets": offsets, "codes": codes, "list_bounds": bounds, "lists": lists}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)


def _sample(sources: Sequence[MergeSource], rows: int) -> np.ndarray:
    """Return (about `rows`, D) float32: all vectors of randomly chosen passages."""
    lengths = [np.where(live, _lengths(vectors), 0) for _, vectors, live in sources]
    of_all = np.concatenate(lengths)
    order = np.random.default_rng(0).permutation(np.flatnonzero(of_all))
    enough = int(np.searchsorted(np.cumsum(of_all[order]), rows)) + 1
    chosen = np.sort(order[:enough])
    sample, first = [], 0
    for _, vectors, live in sources:
        inside = chosen[(chosen >= first) & (chosen < first + len(live))] - first
        sample += [vectors.read(row, row + 1).values for row in inside.tolist()]
        first += len(live)
    return np.concatenate(sample)


def _blocks(lengths: np.ndarray, live: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield (first, last, live rows counted from `first`) of runs of passages with about
    BLOCK_VECTORS vectors; runs without live passages are left out."""
    offsets = offsets_from_lengths(lengths)
    first = 0
    while first < len(lengths):
        end = int(np.searchsorted(offsets, offsets[first] + BLOCK_VECTORS, side="right")) - 1
        last = max(first + 1, end)
        rows = np.flatnonzero(live[first:last])
        if rows.size:
            yield first, last, rows
        first = last


def _lengths(vectors: SearchableVectors) -> np.ndarray:
    """Return (P,) int64, the number of vectors per passage."""
    if isinstance(vectors, PlaidVectors):
        return np.diff(vectors.offsets)
    assert isinstance(vectors, flat.FlatVectors)
    return vectors.passages.lengths


def _link(source: Path, target: Path) -> None:
    """Link the files of a codec, or copy them where the file system has no hard links."""
    for name in FILES:
        try:
            os.link(source / name, target / name)
        except OSError:
            shutil.copyfile(source / name, target / name)
