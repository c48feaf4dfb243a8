"""Text for masked language modelling: token pieces packed into rows, and the masks over them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from ..encoders.tokens import TextTokenizer
from ..errors import InputError
from ..packed import Packed, offsets_from_lengths

OPEN_ROWS = 64  # rows being filled at once
TEXTS = 256  # tokenised at once


def pack_rows(lengths: np.ndarray, size: int, seed: int) -> list[np.ndarray]:
    """Which pieces go into which row of at most `size` tokens together: first fit, in an order
    drawn with `seed`, over OPEN_ROWS rows; the fullest is closed when none has room.

    lengths: (pieces,) tokens of each, none above `size`. Returns a list of int64 arrays that hold
    every piece once.
    """
    rows: list[np.ndarray] = []
    held: list[list[int]] = []
    room: list[int] = []
    for piece in np.random.default_rng(seed).permutation(len(lengths)):
        length = int(lengths[piece])
        place = next((i for i, free in enumerate(room) if free >= length), None)
        if place is None:
            if len(held) == OPEN_ROWS:
                fullest = room.index(min(room))
                rows.append(np.array(held.pop(fullest)))
                room.pop(fullest)
            held.append([])
            room.append(size)
            place = len(held) - 1
        held[place].append(int(piece))
        room[place] -= length
    return rows + [np.array(row) for row in held]


def cut(ids: list[int], length: int, start: int, end: int) -> Iterator[list[int]]:
    """Pieces of a text's ids, each between `start` and `end` and no longer than `length`."""
    inner = length - 2
    for first in range(0, len(ids), inner):
        yield [start, *ids[first : first + inner], end]


def tokenise(
    texts: Iterable[str], tokenizer: TextTokenizer, length: int, start: int, end: int, folder: Path
) -> Packed:
    """Every text cut into pieces, as memory-mapped int32 ids in `folder`; taken as it is when it is
    there already.

    Raises InputError when the texts hold no token.
    """
    values, offsets = folder / "ids.npy", folder / "offsets.npy"
    if not offsets.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        raw = folder / f"ids.{os.getpid()}.raw"  # every process of a run writes its own
        lengths: list[int] = []
        iterator = iter(texts)
        tokenizer.backend.no_truncation()
        with open(raw, "wb") as file:
            while part := list(islice(iterator, TEXTS)):
                encoded = tokenizer.backend.encode_batch_fast(part, add_special_tokens=False)
                for encoding in encoded:
                    for piece in cut(encoding.ids, length, start, end):
                        file.write(np.array(piece, dtype=np.int32).tobytes())
                        lengths.append(len(piece))
        if not lengths:
            raise InputError("the texts hold no tokens")
        held = np.memmap(raw, dtype=np.int32, mode="r")
        partial = folder / f"partial.{os.getpid()}.npy"
        for path, array in ((values, held), (offsets, offsets_from_lengths(lengths))):
            np.save(partial, array)
            partial.replace(path)
        del held
        raw.unlink()
    return Packed(np.load(values, mmap_mode="r"), np.load(offsets))


def mask(
    ids: np.ndarray,
    special: np.ndarray,
    share: float,
    mask_id: int,
    vocabulary: int,
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Choose `share` of the tokens to be predicted; of these 80 % become [MASK], 10 % any token,
    10 % stay (Devlin et al. 2019).

    ids: (N,) int64. special: ids that are never chosen. Returns the ids to read, (N,), and the
    chosen places, (M,) int64, of which there is at least one where any may be chosen.
    """
    free = np.flatnonzero(~np.isin(ids, special))
    count = min(len(free), max(1, round(share * len(free))))
    chosen = np.sort(random.choice(free, count, replace=False)) if count else free
    read = ids.copy()
    fate = random.random(count)
    read[chosen[fate < 0.8]] = mask_id
    replaced = chosen[(fate >= 0.8) & (fate < 0.9)]
    read[replaced] = random.integers(0, vocabulary, len(replaced))
    return read, chosen
