"""What `nano` trains on: pairs as token ids with the teacher's vectors, and the batches of them.

Three shapes of batch cost about the same: many pairs with short documents, fewer with longer ones,
and a few haystacks: documents laid end to end, with the one that answers at a random place.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mbert_retrieval.packed import Packed

QUERY_TOKENS, DOCUMENT_TOKENS = 32, 256
TEACHER_DIMENSION = 384
TEACHER_TOKENS = 128  # of a document, about what teach.py shows the teacher
SHORT_TOKENS, SHORT_PAIRS, LONG_PAIRS = 96, 128, 48
HAYSTACKS, HAYSTACK_TOKENS = (4, 12), 8000  # documents in a batch, tokens in all of them
LONG_SHARE, HAYSTACK_SHARE = 0.2, 0.06
CODE_SHARE = 0.5
CODE_KINDS = ("function", "comment")
NEIGHBOURS = 8  # known of each pair
GROUP = 4  # a pair and three of its neighbours
NEIGHBOURS_SHARE = 0.5  # of a batch
HELD_OUT = 1000  # pairs at the end of each collection, never trained on


@dataclass(frozen=True)
class Pairs:
    """Pairs of one or several collections, in order.

    queries, documents: token ids with prefix. teacher_queries, teacher_documents: (pairs, 384)
    float16 unit vectors, zeros where the teacher was not asked. code: (pairs,) bool. held_out:
    rows that are never trained on. neighbours: (pairs, NEIGHBOURS) rows of pairs whose documents
    are easily taken for this one's, -1 where none are known.
    """

    queries: Packed
    documents: Packed
    teacher_queries: np.ndarray
    teacher_documents: np.ndarray
    code: np.ndarray
    held_out: np.ndarray
    neighbours: np.ndarray

    @classmethod
    def read(cls, folders: list[Path], tokenizer_file: Path) -> Pairs:
        """Everything under the folders that gather.py, teach.py and neighbours.py wrote; the last
        HELD_OUT pairs of each with a query are kept apart."""
        sides: list[tuple] = []
        kept_apart, first = [], 0
        for folder in folders:
            queries, documents, code = tokenised(folder / "pairs.jsonl.gz", tokenizer_file)
            count = len(queries)
            table = np.full((count, NEIGHBOURS), -1, np.int32)
            if (folder / "neighbours.npy").exists():
                table = np.load(folder / "neighbours.npy", allow_pickle=False)
                table = np.where(table < 0, -1, table + first)
            vectors = teacher_vectors(folder / "teacher", count)
            kept_apart.append(first + np.flatnonzero(queries.lengths > 0)[-HELD_OUT:])
            sides.append((queries, documents, *vectors, code, table))
            first += count
        q, d, teacher_q, teacher_d, code, tables = zip(*sides, strict=True)
        return cls(
            Packed.concatenate(q),
            Packed.concatenate(d),
            np.concatenate(teacher_q),
            np.concatenate(teacher_d),
            np.concatenate(code),
            np.concatenate(kept_apart),
            np.concatenate(tables),
        )


@dataclass(frozen=True)
class Batch:
    """rows: the pairs. distilled: (rows,) bool, whether the teacher saw all of the document, or
    None in a batch of haystacks, of which the teacher knows nothing."""

    rows: np.ndarray
    queries: Packed
    documents: Packed
    distilled: np.ndarray | None


class Batches:
    """The batch of each step, drawn from the seed and the step alone."""

    def __init__(self, pairs: Pairs, seed: int, haystacks: bool = True) -> None:
        self.pairs, self.seed = pairs, seed
        self._haystack_share = HAYSTACK_SHARE if haystacks else 0.0
        usable = pairs.queries.lengths > 0
        usable[pairs.held_out] = False
        self._usable = usable
        long = pairs.documents.lengths > SHORT_TOKENS
        self._pools = {
            (kind, length): np.flatnonzero(usable & of_kind & of_length)
            for kind, of_kind in (("code", pairs.code), ("text", ~pairs.code))
            for length, of_length in (("any", usable), ("long", long))
        }

    def __call__(self, step: int) -> Batch:
        random = np.random.default_rng([self.seed, step])
        shape = random.random()
        if shape < self._haystack_share:
            return self._haystacks(random)
        if shape < self._haystack_share + LONG_SHARE:
            return self._batch(self._rows(random, LONG_PAIRS, "long"), DOCUMENT_TOKENS)
        return self._batch(self._rows(random, SHORT_PAIRS, "any"), SHORT_TOKENS)

    def _rows(self, random: np.random.Generator, count: int, length: str) -> np.ndarray:
        """Distinct pairs, code and text in their shares, some with their neighbours."""
        code = round(CODE_SHARE * count)
        rows: list[int] = []
        for kind, share in (("code", code), ("text", count - code)):
            pool = self._pools[kind, length]
            drawn = random.choice(pool, size=share, replace=False)
            rows += self._grouped(random, drawn) if length == "any" else drawn.tolist()
        return np.array(list(dict.fromkeys(rows)))

    def _grouped(self, random: np.random.Generator, drawn: np.ndarray) -> list[int]:
        """The drawn pairs, a share of them replaced by neighbours of others."""
        seeds = int(NEIGHBOURS_SHARE * len(drawn)) // GROUP
        groups = []
        for seed in drawn[:seeds]:
            near = random.permutation(self.pairs.neighbours[seed])[: GROUP - 1]
            groups += near[(near >= 0) & self._usable[near]].tolist()
        return [*drawn[: len(drawn) - len(groups)].tolist(), *groups]

    def _batch(self, rows: np.ndarray, limit: int) -> Batch:
        documents = shortened(self.pairs.documents.select(rows), limit)
        return Batch(
            rows, self.pairs.queries.select(rows), documents, documents.lengths <= TEACHER_TOKENS
        )

    def _haystacks(self, random: np.random.Generator) -> Batch:
        """A few pairs, each document among enough others to fill the haystack."""
        count = int(random.integers(*HAYSTACKS))
        room = HAYSTACK_TOKENS // count
        rows = self._rows(random, count, "any")
        others = random.permutation(len(self.pairs.documents))[: HAYSTACK_TOKENS // 16]
        following = iter(others.tolist())
        haystacks = []
        for row in rows:
            needle = self.pairs.documents[row][2:-1][:SHORT_TOKENS]
            start, *_, end = whole = self.pairs.documents[row]
            before, after, filled = [], [], len(needle) + 3
            depth = random.random()
            while filled < room:
                filler = self.pairs.documents[next(following)][2:-1][: room - filled]
                (before if random.random() < depth else after).append(filler)
                filled += len(filler)
            haystacks.append(np.concatenate([[start, whole[1]], *before, needle, *after, [end]]))
        return Batch(
            rows, self.pairs.queries.select(rows), Packed.from_sequences(haystacks, np.int64), None
        )


def shortened(documents: Packed, limit: int) -> Packed:
    """Documents of at most `limit` tokens, each with its last token ([SEP]) at its end."""
    cut = [ids if len(ids) <= limit else np.append(ids[: limit - 1], ids[-1]) for ids in documents]
    return Packed.from_sequences(cut, np.int64)


def tokenised(pairs: Path, tokenizer_file: Path) -> tuple[Packed, Packed, np.ndarray]:
    """All queries and documents as ids, with their prefix: [CLS] [Q] text [SEP], and which pairs
    are of code.

    A pair without a query has an empty one. The result is kept beside the pairs.
    """
    from tokenizers import Tokenizer

    kept = pairs.with_name(f"ids-{DOCUMENT_TOKENS}.npz")
    if kept.exists():
        stored = np.load(kept, allow_pickle=False)
        return (
            Packed(stored["queries"].astype(np.int64), stored["query_offsets"]),
            Packed(stored["documents"].astype(np.int64), stored["document_offsets"]),
            stored["code"],
        )
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    with gzip.open(pairs, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    sides: list[Packed] = []
    for side, prefix, limit in (
        ("query", "[Q] ", QUERY_TOKENS),
        ("document", "[D] ", DOCUMENT_TOKENS),
    ):
        tokenizer.enable_truncation(limit)
        texts = [row[side] for row in rows]
        ids = [e.ids for e in tokenizer.encode_batch_fast([prefix + (t or "") for t in texts])]
        ids = [row if text else [] for row, text in zip(ids, texts, strict=True)]
        sides.append(Packed.from_sequences(ids, dtype=np.int64))
    queries, documents = sides
    code = np.array([row["kind"] in CODE_KINDS for row in rows])
    np.savez(
        kept,
        queries=queries.values.astype(np.int16),
        query_offsets=queries.offsets,
        documents=documents.values.astype(np.int16),
        document_offsets=documents.offsets,
        code=code,
    )
    return queries, documents, code


def teacher_vectors(folder: Path, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors of queries and documents, (count, 384) float16, as far as teach.py has come;
    zeros from there on, and where it never was."""
    sides = []
    for side in ("queries", "documents"):
        vectors = np.zeros((count, TEACHER_DIMENSION), np.float16)
        filled = 0
        for path in sorted(folder.glob(f"{side}-*.npy")):
            part = np.load(path, allow_pickle=False)
            vectors[filled : filled + len(part)] = part
            filled += len(part)
        sides.append(vectors)
    return sides[0], sides[1]
