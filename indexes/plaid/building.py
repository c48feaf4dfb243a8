"""Vectors to a compressed segment, and several segments to one.

All is streamed: in memory are a sample for k-means (at most SAMPLE_BYTES), a block of vectors, the
codes and the inverted lists (some 8 bytes a vector).

A codec is taken over from an older segment (its files as hard links) as long as it fits: the
collection has not grown to need more than twice the centroids, and the error that it makes on a
sample of the new vectors is at most DRIFT times the error that it made on those it was fitted to.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeGuard

import numpy as np

from ...errors import InputError
from ...native import plaid as kernels
from ...packed import offsets_from_lengths
from .. import flat
from ..engine import Engine, Part, VectorsWriter
from ..manifest import Leg
from .codec import BITS, FILES, Codec, fit_codec, load_codec
from .parameters import BITS as DEFAULT_BITS
from .parameters import centroid_count
from .segment import PlaidVectors

EXACT_PASSAGES = 2000  # a segment of fewer keeps its vectors as they are
DRIFT = 1.25
DRIFT_SAMPLE = 2**14  # vectors on which the error of an older codec is measured
SAMPLE_PER_CENTROID = 32
SAMPLE_BYTES = 2**28
BLOCK_VECTORS = 2**16
MOST_DIMENSIONS, MOST_CENTROIDS = 1024, 2**24


def check(leg: Leg) -> None:
    """See `engine.Kind.check`. Settings: "nbits" and "centroids", both optional."""
    bits, count = leg.settings.get("nbits", DEFAULT_BITS), leg.settings.get("centroids")
    if bits not in BITS:
        raise InputError(f"nbits must be one of {', '.join(map(str, BITS))}, it is {bits!r}")
    if count is not None and not (isinstance(count, int) and 1 <= count <= MOST_CENTROIDS):
        raise InputError(f"centroids must be from 1 to {MOST_CENTROIDS:,}, they are {count!r}")
    if leg.encoder.dimension > MOST_DIMENSIONS:
        raise InputError(
            f"kind 'plaid' takes vectors of up to {MOST_DIMENSIONS} dimensions: use kind 'flat'"
        )


def build(folder: Path, leg: Leg, relatives: Sequence[Path]) -> None:
    """See `engine.Kind.build`."""
    offsets = np.load(folder / "offsets.npy", allow_pickle=False)
    passages = len(offsets) - 1
    if passages < EXACT_PASSAGES:
        return
    vectors = flat.load(folder, passages, int(offsets[-1]), leg.encoder.dimension)
    _compress(folder, leg, [(folder, vectors, np.ones(passages, dtype=bool))], relatives)
    (folder / "vectors.npy").unlink()


def merge(folder: Path, leg: Leg, parts: Sequence[Part]) -> None:
    """See `engine.Kind.merge`. What has the codec that is kept is copied; other compressed vectors
    are read as they were compressed."""
    if sum(int(live.sum()) for _, _, live in parts) < EXACT_PASSAGES:
        writer = VectorsWriter(folder, leg.encoder.dimension)
        for _, engine, live in parts:
            for first, last, kept in _spans(_lengths(engine), live):
                writer.append(engine.read(first, last).select(kept))
        writer.finish()
        return
    largest_first = sorted(parts, key=lambda part: -len(part[2]))
    _compress(folder, leg, parts, [path for path, _, _ in largest_first])


def _compress(folder: Path, leg: Leg, parts: Sequence[Part], relatives: Sequence[Path]) -> None:
    """Write all but the vectors. relatives: whose codec may be taken over, in this order."""
    bits = leg.settings.get("nbits", DEFAULT_BITS)
    lengths = np.concatenate([_lengths(engine)[live] for _, engine, live in parts])
    wanted = leg.settings.get("centroids") or centroid_count(int(lengths.sum()))
    codec = None
    for relative in relatives:
        if relative != folder and (relative / "codec.json").exists():
            older = load_codec(relative, leg.encoder.dimension)
            if older.bits == bits and _fits(older, wanted, leg, parts):
                codec = older
                _link(relative, folder)
            break
    if codec is None:
        rows = min(SAMPLE_PER_CENTROID * wanted, SAMPLE_BYTES // (4 * leg.encoder.dimension))
        codec = fit_codec(_sample(parts, max(rows, wanted)), wanted, bits)
        codec.save(folder)
    _write(folder, codec, lengths, _encoded(codec, parts))


def _fits(codec: Codec, wanted: int, leg: Leg, parts: Sequence[Part]) -> bool:
    count = len(codec.centroids)
    if leg.settings.get("centroids") not in (None, count) or wanted > 2 * count:
        return False
    new = [part for part in parts if not _has_codec(part[1], codec)]
    return not new or codec.error_on(_sample(new, DRIFT_SAMPLE)) <= DRIFT * codec.error


def _has_codec(engine: Engine, codec: Codec) -> TypeGuard[PlaidVectors]:
    return isinstance(engine, PlaidVectors) and engine.codec.same_as(codec)


def _encoded(codec: Codec, parts: Sequence[Part]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Codes (n,) and residuals (n, bytes) of all vectors that are kept, block by block."""
    for _, engine, live in parts:
        lengths = _lengths(engine)
        compressed = engine if _has_codec(engine, codec) else None
        for first, last, kept in _spans(lengths, live):
            if compressed is not None:
                begin, end = compressed.offsets[first], compressed.offsets[last]
                rows = np.repeat(live[first:last], lengths[first:last])
                yield compressed.codes[begin:end][rows], compressed.residuals[begin:end][rows]
            else:
                yield codec.encode(engine.read(first, last).select(kept).values)


def _write(
    folder: Path,
    codec: Codec,
    lengths: np.ndarray,
    blocks: Iterable[tuple[np.ndarray, np.ndarray]],
) -> None:
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


def _sample(parts: Sequence[Part], rows: int) -> np.ndarray:
    """(about `rows`, D) float32: all vectors of randomly chosen passages."""
    lengths = [np.where(live, _lengths(engine), 0) for _, engine, live in parts]
    together = np.concatenate(lengths)
    order = np.random.default_rng(0).permutation(np.flatnonzero(together))
    enough = int(np.searchsorted(np.cumsum(together[order]), rows)) + 1
    chosen = np.sort(order[:enough])
    found, first = [], 0
    for _, engine, live in parts:
        inside = chosen[(chosen >= first) & (chosen < first + len(live))] - first
        found += [engine.read(place, place + 1).values for place in inside.tolist()]
        first += len(live)
    return np.concatenate(found)


def _spans(lengths: np.ndarray, live: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
    """(first, last, places of the live ones from `first` on): runs of passages of about
    BLOCK_VECTORS vectors, of which at least one is live."""
    offsets = offsets_from_lengths(lengths)
    first = 0
    while first < len(lengths):
        room = int(np.searchsorted(offsets, offsets[first] + BLOCK_VECTORS, side="right")) - 1
        last = max(first + 1, room)
        kept = np.flatnonzero(live[first:last])
        if kept.size:
            yield first, last, kept
        first = last


def _lengths(engine: Engine) -> np.ndarray:
    """(P,) int64: how many vectors each passage has."""
    if isinstance(engine, PlaidVectors):
        return np.diff(engine.offsets)
    assert isinstance(engine, flat.FlatVectors)
    return engine.passages.lengths


def _link(source: Path, target: Path) -> None:
    """The codec's files, without using space where the file system can."""
    for name in FILES:
        try:
            os.link(source / name, target / name)
        except OSError:
            shutil.copyfile(source / name, target / name)
