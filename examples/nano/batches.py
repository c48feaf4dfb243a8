"""Training data of `nano`: pairs as token ids with the teacher's vectors, and their batches.

Three shapes of batch cost about the same: many pairs with short documents, fewer with longer ones,
and a few haystacks: concatenated documents, with the relevant one at a random position.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mbert_retrieval.packed import Packed

QUERY_TOKENS, DOCUMENT_TOKENS = 32, 256
TEACHER_DIMENSION = 384
SHORT_TOKENS = 128  # of a document, about what teach.py shows the teacher
SHORT_PAIRS, LONG_PAIRS = 128, 48
HAYSTACKS, HAYSTACK_TOKENS = (4, 12), 8000  # documents in a batch, tokens in all of them
LONG_SHARE, HAYSTACK_SHARE = 0.25, 0.06
CODE_SHARE = 0.4
CODE_KINDS = ("function", "comment")
NEIGHBOURS = 8  # known of each pair
GROUP = 4  # a pair and three of its neighbours
NEIGHBOURS_SHARE = 0.5  # of a batch
HELD_OUT = 1000  # pairs at the end of each collection, never trained on
OTHER_QUERIES = 2  # of a pair, at most


@dataclass(frozen=True)
class Pairs:
    """Pairs of one or several collections, in order.

    queries, documents: token ids with prefix; the queries of the pairs are followed by others for
    the same documents, which other_queries, (pairs, OTHER_QUERIES), gives as rows of `queries`, -1
    where there is none. teacher_queries, teacher_documents, teacher_long: a float16 unit vector of
    384 for each query, each document, and each long document of text; zeros without a teacher's
    vector. code: (pairs,) bool. held_out: rows that are never trained on. neighbours:
    (pairs, NEIGHBOURS) rows of pairs whose documents are easily taken for this one's, or -1.
    """

    queries: Packed
    documents: Packed
    teacher_queries: np.ndarray
    teacher_documents: np.ndarray
    teacher_long: np.ndarray
    code: np.ndarray
    held_out: np.ndarray
    neighbours: np.ndarray
    other_queries: np.ndarray

    @classmethod
    def read(cls, folders: list[Path], tokenizer_file: Path) -> Pairs:
        """Everything under the folders that gather.py, teach.py, neighbours.py and rephrase.py
        wrote; the last HELD_OUT pairs with a query of each are held out."""
        sides: list[tuple] = []
        more: list[tuple] = []
        held_out, first = [], 0
        for folder in folders:
            queries, documents, code = tokenised(folder / "pairs.jsonl.gz", tokenizer_file)
            count = len(queries)
            table = np.full((count, NEIGHBOURS), -1, np.int32)
            if (folder / "neighbours.npy").exists():
                table = np.load(folder / "neighbours.npy", allow_pickle=False)
                table = np.where(table < 0, -1, table + first)
            vectors = [
                teacher_vectors(folder / "teacher", side, count)
                for side in ("queries", "documents", "long")
            ]
            held_out.append(first + np.flatnonzero(queries.lengths > 0)[-HELD_OUT:])
            sides.append((queries, documents, *vectors, code, table))
            again = folder / "again"
            if again.exists():
                queries, _, _ = tokenised(again / "pairs.jsonl.gz", tokenizer_file)
                of = np.load(again / "of.npy", allow_pickle=False)
                vectors = teacher_vectors(again / "teacher", "queries", len(of))
                more.append((queries, vectors, first + of))
            first += count
        q, d, teacher_q, teacher_d, teacher_l, code, tables = zip(*sides, strict=True)
        other_q, other_teacher, of = zip(*more, strict=True) if more else ((), (), ())
        return cls(
            Packed.concatenate([*q, *other_q]),
            Packed.concatenate(d),
            np.concatenate([*teacher_q, *other_teacher]),
            np.concatenate(teacher_d),
            np.concatenate(teacher_l),
            np.concatenate(code),
            np.concatenate(held_out),
            np.concatenate(tables),
            others_of(np.concatenate([*of, np.empty(0, int)]), first),
        )


def others_of(of: np.ndarray, pairs: int) -> np.ndarray:
    """(pairs, OTHER_QUERIES) rows of the queries that follow those of the pairs, or -1. of: the
    pair of each of them, ascending."""
    table = np.full((pairs, OTHER_QUERIES), -1, np.int64)
    rank = np.arange(len(of)) - np.searchsorted(of, of)  # among the queries of the same pair
    table[of, rank] = pairs + np.arange(len(of))
    return table


@dataclass(frozen=True)
class Batch:
    """rows: the pairs. teacher_queries, teacher_documents: (rows, 384) the teacher's vectors.
    distilled: (rows,) bool, whether the teacher saw all of the document, or None in a batch of
    haystacks, of which the teacher knows nothing."""

    rows: np.ndarray
    queries: Packed
    documents: Packed
    teacher_queries: np.ndarray
    teacher_documents: np.ndarray
    distilled: np.ndarray | None


class Batches:
    """The batch of each step, drawn from the seed and the step alone."""

    def __init__(self, pairs: Pairs, seed: int, haystacks: bool = True) -> None:
        self.pairs, self.seed = pairs, seed
        self._haystack_share = HAYSTACK_SHARE if haystacks else 0.0
        usable = pairs.queries.lengths[: len(pairs.documents)] > 0
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
            return self._batch(random, self._rows(random, LONG_PAIRS, "long"), DOCUMENT_TOKENS)
        return self._batch(random, self._rows(random, SHORT_PAIRS, "any"), SHORT_TOKENS)

    def _rows(self, random: np.random.Generator, count: int, length: str) -> np.ndarray:
        """Distinct pairs, code and text in their shares, some with their neighbours."""
        code = round(CODE_SHARE * count)
        rows: list[int] = []
        for kind, number in (("code", code), ("text", count - code)):
            pool = self._pools[kind, length]
            drawn = random.choice(pool, size=number, replace=False)
            rows += self._grouped(random, drawn) if length == "any" else drawn.tolist()
        return np.array(list(dict.fromkeys(rows)))

    def _grouped(self, random: np.random.Generator, drawn: np.ndarray) -> list[int]:
        """The drawn pairs, some of them replaced by neighbours of others."""
        seeds = int(NEIGHBOURS_SHARE * len(drawn)) // GROUP
        groups = []
        for seed in drawn[:seeds]:
            near = random.permutation(self.pairs.neighbours[seed])[: GROUP - 1]
            groups += near[(near >= 0) & self._usable[near]].tolist()
        return [*drawn[: len(drawn) - len(groups)].tolist(), *groups]

    def _drawn_queries(self, random: np.random.Generator, rows: np.ndarray) -> np.ndarray:
        """One query per pair, drawn among its queries, as rows of `pairs.queries`."""
        known = np.column_stack((rows, self.pairs.other_queries[rows]))
        lots = np.where(known < 0, -1, random.random(known.shape))
        return known[np.arange(len(rows)), lots.argmax(1)]

    def _batch(self, random: np.random.Generator, rows: np.ndarray, limit: int) -> Batch:
        pairs, drawn = self.pairs, self._drawn_queries(random, rows)
        documents = shortened(pairs.documents.select(rows), limit)
        goals, distilled = pairs.teacher_documents[rows], documents.lengths <= SHORT_TOKENS
        if limit > SHORT_TOKENS:
            patient = pairs.teacher_long[rows]
            seen = patient.any(axis=1)
            goals, distilled = np.where(seen[:, None], patient, goals), distilled | seen
        queries = pairs.queries.select(drawn)
        return Batch(rows, queries, documents, pairs.teacher_queries[drawn], goals, distilled)

    def _haystacks(self, random: np.random.Generator) -> Batch:
        """A few pairs, each document among enough others to fill the haystack."""
        count = int(random.integers(*HAYSTACKS))
        length = HAYSTACK_TOKENS // count
        rows = self._rows(random, count, "any")
        others = random.permutation(len(self.pairs.documents))[: HAYSTACK_TOKENS // 16]
        following = iter(others.tolist())
        haystacks = []
        for row in rows:
            needle = self.pairs.documents[row][2:-1][:SHORT_TOKENS]
            start, prefix, *_, end = self.pairs.documents[row]
            before, after, filled = [], [], len(needle) + 3
            depth = random.random()
            while filled < length:
                filler = self.pairs.documents[next(following)][2:-1][: length - filled]
                (before if random.random() < depth else after).append(filler)
                filled += len(filler)
            haystacks.append(np.concatenate([[start, prefix], *before, needle, *after, [end]]))
        drawn = self._drawn_queries(random, rows)
        queries, documents = self.pairs.queries.select(drawn), Packed.from_sequences(haystacks)
        unknown = np.zeros((len(rows), TEACHER_DIMENSION), np.float16)
        return Batch(rows, queries, documents, unknown, unknown, None)


def shortened(documents: Packed, limit: int) -> Packed:
    """Documents of at most `limit` tokens, each with its last token ([SEP]) at its end."""
    cut = [ids if len(ids) <= limit else np.append(ids[: limit - 1], ids[-1]) for ids in documents]
    return Packed.from_sequences(cut, np.int64)


def read_pairs(path: Path) -> list[dict]:
    """The rows that gather.py wrote: query, document, kind."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def tokenised(pairs: Path, tokenizer_file: Path) -> tuple[Packed, Packed, np.ndarray]:
    """All queries and documents as ids, with their prefix: [CLS] [Q] text [SEP], and which pairs
    are of code.

    A pair without a query has an empty one. The result is cached beside the pairs.
    """
    from tokenizers import Tokenizer

    made_by = hashlib.sha256(tokenizer_file.read_bytes()).hexdigest()[:8]
    cache = pairs.with_name(f"ids-{DOCUMENT_TOKENS}-{made_by}.npz")
    if cache.exists():
        stored = np.load(cache, allow_pickle=False)
        return (
            Packed(stored["queries"].astype(np.int64), stored["query_offsets"]),
            Packed(stored["documents"].astype(np.int64), stored["document_offsets"]),
            stored["code"],
        )
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    rows = read_pairs(pairs)
    sides: list[Packed] = []
    for side, prefix, limit in (
        ("query", "[Q] ", QUERY_TOKENS),
        ("document", "[D] ", DOCUMENT_TOKENS),
    ):
        tokenizer.enable_truncation(limit)
        texts = [row.get(side) for row in rows]
        ids = [e.ids for e in tokenizer.encode_batch_fast([prefix + (t or "") for t in texts])]
        ids = [row if text else [] for row, text in zip(ids, texts, strict=True)]
        sides.append(Packed.from_sequences(ids, dtype=np.int64))
    queries, documents = sides
    code = np.array([row["kind"] in CODE_KINDS for row in rows])
    np.savez(
        cache,
        queries=queries.values.astype(np.int16),
        query_offsets=queries.offsets,
        documents=documents.values.astype(np.int16),
        document_offsets=documents.offsets,
        code=code,
    )
    return queries, documents, code


def teacher_vectors(folder: Path, side: str, count: int) -> np.ndarray:
    """Unit vectors of the "queries", the "documents" or the "long" documents, (count, 384) float16,
    zeros where teach.py has written none."""
    vectors = np.zeros((count, TEACHER_DIMENSION), np.float16)
    filled = 0
    for path in sorted(folder.glob(f"{side}-*.npy")):
        part = np.load(path, allow_pickle=False)
        vectors[filled : filled + len(part)] = part
        filled += len(part)
    return vectors
