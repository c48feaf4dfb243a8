"""Data of masked language modelling: texts cut into pieces, packed into rows, and masked."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..encoders.tokens import TextTokenizer
from ..errors import InputError
from ..packed import Packed, offsets_from_lengths

OPEN_ROWS = 64  # rows that `pack_rows` fills at the same time
TEXTS = 256  # texts per tokeniser call


@dataclass(frozen=True)
class PieceFormat:
    """Form of a piece of text: at most `length` tokens, the first [CLS] and the last [SEP]."""

    length: int
    cls_id: int
    sep_id: int


@dataclass(frozen=True)
class Masking:
    """How tokens are chosen and masked.

    fraction: Of the tokens, to be predicted. mask_id: Id of [MASK]. special_ids: Ids that are never
    chosen. vocabulary_size: Random replacements are drawn from all ids below it.
    """

    fraction: float
    mask_id: int
    special_ids: tuple[int, ...]
    vocabulary_size: int


def pack_rows(lengths: np.ndarray, size: int, seed: int) -> list[np.ndarray]:
    """Assign pieces to rows of at most `size` tokens.

    First fit over OPEN_ROWS open rows, in a random order of the pieces; if a piece fits into none,
    the fullest row is closed.

    Args:
        lengths: (pieces,) tokens per piece, none above `size`.
        size: Maximum number of tokens per row.
        seed: Seed of the order.

    Returns:
        The pieces of each row, int64; every piece is in exactly one row.

    Example:
        >>> [row.tolist() for row in pack_rows(np.array([5, 3, 2]), 5, seed=0)]
        [[2, 1], [0]]
    """
    closed: list[np.ndarray] = []
    rows: list[list[int]] = []
    free: list[int] = []  # tokens that fit into each open row
    for piece in np.random.default_rng(seed).permutation(len(lengths)):
        length = int(lengths[piece])
        fitting = next((i for i, tokens in enumerate(free) if tokens >= length), None)
        if fitting is None:
            if len(rows) == OPEN_ROWS:
                fullest = free.index(min(free))
                closed.append(np.array(rows.pop(fullest)))
                free.pop(fullest)
            rows.append([])
            free.append(size)
            fitting = len(rows) - 1
        rows[fitting].append(int(piece))
        free[fitting] -= length
    return closed + [np.array(row) for row in rows]


def cut(ids: list[int], form: PieceFormat) -> Iterator[list[int]]:
    """Yield the pieces of a text, given its token ids without [CLS] and [SEP]."""
    inner = form.length - 2
    for first in range(0, len(ids), inner):
        yield [form.cls_id, *ids[first : first + inner], form.sep_id]


def tokenise(
    texts: Iterable[str], tokenizer: TextTokenizer, form: PieceFormat, folder: Path
) -> Packed:
    """Cut all texts into pieces.

    Args:
        texts: The texts; not read if `folder` already has the pieces.
        tokenizer: The tokenizer.
        form: Form of the pieces.
        folder: Where the pieces are stored.

    Returns:
        The ids of the pieces, int32, memory-mapped.

    Raises:
        InputError: If the texts have no tokens.
    """
    values, offsets = folder / "ids.npy", folder / "offsets.npy"
    if not offsets.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        raw = folder / f"ids.{os.getpid()}.raw"  # every process of a run writes its own
        lengths: list[int] = []
        iterator = iter(texts)
        tokenizer.backend.no_truncation()
        with open(raw, "wb") as file:
            while batch := list(islice(iterator, TEXTS)):
                encoded = tokenizer.backend.encode_batch_fast(batch, add_special_tokens=False)
                for encoding in encoded:
                    for piece in cut(encoding.ids, form):
                        file.write(np.array(piece, dtype=np.int32).tobytes())
                        lengths.append(len(piece))
        if not lengths:
            raise InputError("the texts have no tokens")
        written = np.memmap(raw, dtype=np.int32, mode="r")
        partial = folder / f"partial.{os.getpid()}.npy"
        for path, array in ((values, written), (offsets, offsets_from_lengths(lengths))):
            np.save(partial, array)
            partial.replace(path)
        del written
        raw.unlink()
    return Packed(np.load(values, mmap_mode="r"), np.load(offsets))


def mask(
    ids: np.ndarray, masking: Masking, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Choose tokens to predict and mask them (Devlin et al. 2019, arXiv 1810.04805).

    Of the chosen tokens 80 % become [MASK], 10 % a random token, and 10 % stay.

    Args:
        ids: (N,) int64.
        masking: Which tokens to choose and what replaces them.
        random: Source of randomness.

    Returns:
        The masked ids, (N,), and the positions of the chosen tokens, (M,) int64, ascending. At
        least one is chosen if any may be.
    """
    eligible = np.flatnonzero(~np.isin(ids, masking.special_ids))
    count = min(len(eligible), max(1, round(masking.fraction * len(eligible))))
    chosen = np.sort(random.choice(eligible, count, replace=False)) if count else eligible
    masked = ids.copy()
    fate = random.random(count)
    masked[chosen[fate < 0.8]] = masking.mask_id
    randomised = chosen[(fate >= 0.8) & (fate < 0.9)]
    masked[randomised] = random.integers(0, masking.vocabulary_size, len(randomised))
    return masked, chosen


class PackedRows(Dataset):
    """The rows of a run in training order: all rows once per epoch, each epoch in another order.

    An item is (the row's pieces, a seed for its masks); both depend on the seed and the item's
    number only, so that a resumed run continues with the same rows.
    """

    def __init__(self, pieces: Packed, rows: list[np.ndarray], items: int, seed: int) -> None:
        self.pieces, self.rows, self.items, self.seed = pieces, rows, items, seed
        self._epoch = -1
        self._order = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return self.items

    def __getitem__(self, item: int) -> tuple[Packed, tuple[int, int]]:
        if not 0 <= item < self.items:
            raise IndexError(item)
        epoch, index = divmod(item, len(self.rows))
        if epoch != self._epoch:
            self._epoch = epoch
            self._order = np.random.default_rng([self.seed, epoch]).permutation(len(self.rows))
        return self.pieces.select(self.rows[self._order[index]]), (self.seed, item)


def collate(items: list[tuple[Packed, tuple[int, int]]], masking: Masking) -> dict[str, Tensor]:
    """Concatenate rows and mask them. Return the arguments of `MaskedLMWithLoss.forward`."""
    masked_ids, positions, labels, filled = [], [], [], 0
    for row, seed in items:
        ids = row.values.astype(np.int64)
        masked, chosen = mask(ids, masking, np.random.default_rng(seed))
        masked_ids.append(masked)
        positions.append(chosen + filled)
        labels.append(ids[chosen])
        filled += len(ids)
    offsets = Packed.concatenate([row for row, _ in items]).offsets
    return {
        "input_ids": torch.from_numpy(np.concatenate(masked_ids)),
        "cu_seqlens": torch.from_numpy(offsets),
        "predicted": torch.from_numpy(np.concatenate(positions)),
        "labels": torch.from_numpy(np.concatenate(labels)),
    }
