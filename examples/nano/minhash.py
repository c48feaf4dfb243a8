"""Near-duplicate texts: MinHash over word 3-shingles, looked up by bands of equal signatures."""

from __future__ import annotations

import re
import zlib

import numpy as np

SHINGLE = 3
PERMUTATIONS = 64
_WORD = re.compile(r"[a-z]+|[0-9]+|[^\x00-\x7f]+")
_RANDOM = np.random.default_rng(0)
_MULTIPLIERS = _RANDOM.integers(2**63, size=(PERMUTATIONS, 1), dtype=np.uint64) * 2 + 1
_SHIFTS = _RANDOM.integers(2**63, size=(PERMUTATIONS, 1), dtype=np.uint64)
_SHINGLE_FACTORS = _RANDOM.integers(2**63, size=SHINGLE, dtype=np.uint64) * 2 + 1


def normalised(text: str) -> str:
    """The words of a text in lower case, one space between them."""
    return " ".join(_WORD.findall(text.lower()))


def signature(text: str) -> np.ndarray:
    """(64,) uint32 MinHash; the fraction of entries that two texts share estimates their Jaccard
    similarity."""
    words = [zlib.crc32(word.encode()) for word in _WORD.findall(text.lower())]
    words += [0] * (SHINGLE - len(words))
    hashes = np.array(words, dtype=np.uint64)
    count = len(hashes) - SHINGLE + 1
    shingles = np.zeros(count, dtype=np.uint64)
    for i, factor in enumerate(_SHINGLE_FACTORS):
        shingles += hashes[i : i + count] * factor
    shingles ^= shingles >> np.uint64(29)
    return ((_MULTIPLIERS * shingles + _SHIFTS) >> np.uint64(32)).min(axis=1).astype(np.uint32)


class NearDuplicates:
    """The signatures seen so far, searched for one of at least `threshold` estimated similarity.

    With `rows` entries per band, a text of Jaccard similarity s has an equal band with probability
    1 - (1 - s**rows) ** (64 / rows): two rows for s >= 0.5, four for s >= 0.75.
    """

    def __init__(self, threshold: float, rows: int) -> None:
        self.threshold, self.rows = threshold, rows
        self._signatures: list[np.ndarray] = []
        self._bands: dict[tuple[int, bytes], list[int]] = {}

    def _keys(self, signature: np.ndarray) -> list[tuple[int, bytes]]:
        return [
            (start, signature[start : start + self.rows].tobytes())
            for start in range(0, PERMUTATIONS, self.rows)
        ]

    def add(self, signature: np.ndarray) -> None:
        for key in self._keys(signature):
            self._bands.setdefault(key, []).append(len(self._signatures))
        self._signatures.append(signature)

    def __contains__(self, signature: np.ndarray) -> bool:
        candidates = {i for key in self._keys(signature) for i in self._bands.get(key, ())}
        return any(
            np.count_nonzero(self._signatures[i] == signature) >= self.threshold * PERMUTATIONS
            for i in candidates
        )
