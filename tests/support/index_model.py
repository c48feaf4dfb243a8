"""What the index tests compare with: a plain dict, brute force, and a scripted history."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from mbert_retrieval import Packed, Passage
from mbert_retrieval.indexes import EncoderIdentity, IndexFolder, Leg

DIMENSION = 8
LATE = EncoderIdentity("toy", "00ff", "late", DIMENSION)
DENSE = EncoderIdentity("toy", "00ff", "dense", DIMENSION)
LATE_FLAT, DENSE_FLAT = Leg(LATE, "flat"), Leg(DENSE, "flat")
DENSE_SMALL = Leg(DENSE, "faiss")  # exact, because it is small
DENSE_GRAPH = Leg(DENSE, "faiss", {"factory": "HNSW8,Flat"})

# what an index should hold: id -> (passage, its (n, D) float32 late vectors, of which the first is
# its dense vector)
Model = dict[str, tuple[Passage, np.ndarray]]


def max_sim(query: np.ndarray, passage: np.ndarray) -> float:
    """The definition, one inner product at a time, in float64."""
    return sum(max(float(np.dot(q, p)) for p in passage) for q in query.astype(np.float64))


def brute_force(query: np.ndarray, model: Model, k: int) -> list[tuple[str, float]]:
    scores = [(id, max_sim(query, vectors)) for id, (_, vectors) in model.items()]
    return sorted(scores, key=lambda hit: (-hit[1], hit[0]))[:k]


def assert_same_ranking(
    found: list[tuple[str, float]], expected: list[tuple[str, float]], tolerance: float = 1e-4
) -> None:
    """Equal scores place by place, and equal ids but for scores within the tolerance."""
    assert len(found) == len(expected)
    scores = dict(expected)
    for (id, score), (_, wanted) in zip(found, expected, strict=True):
        assert abs(score - wanted) <= tolerance
        if id in scores:  # else it ties with the last
            assert abs(scores[id] - score) <= tolerance
    assert len({id for id, _ in found}) == len(found)


def random_vectors(rng: np.random.Generator, count: int, longest: int = 4) -> list[np.ndarray]:
    lengths = rng.integers(1, longest + 1, count)
    return [rng.standard_normal((length, DIMENSION)).astype(np.float32) for length in lengths]


def packed(legs: Iterable[str], rows: list[np.ndarray]) -> dict[str, Packed]:
    """What `Writer.add` takes for passages of these late vectors."""
    late = Packed.from_sequences(rows)
    dense = Packed.from_rows(late.values[late.offsets[:-1]])
    return {name: late if name == "late" else dense for name in legs}


def whole_state(folder: IndexFolder) -> dict[str, Passage]:
    ids = list(folder.content_hashes())
    return dict(zip(ids, folder.passages(ids), strict=True))


def assert_holds(folder: IndexFolder, model: Model) -> None:
    """Passages, all vectors (through a search that returns everything) and all words."""
    assert whole_state(folder) == {id: passage for id, (passage, _) in model.items()}
    assert len(folder) == len(model)
    for name in folder.legs:
        rows = 1 if name == "dense" else 3
        query = np.random.default_rng(7).standard_normal((rows, DIMENSION)).astype(np.float32)
        queries = Packed.from_sequences([query])
        found = folder.search_vectors(queries, k=len(model) + 5, leg=name)[0]
        most = 1 if name == "dense" else None
        kept = {id: (passage, rows[:most]) for id, (passage, rows) in model.items()}
        assert_same_ranking(found, brute_force(query, kept, len(model) + 5))
    words = {id for id, _ in folder.search_lexical(["everywhere"], k=len(model) + 5)[0]}
    assert words == set(model)


def history(step: int, model: Model) -> tuple[list[Passage], list[np.ndarray], list[str]]:
    """The scripted change of a step: what to add (new and replaced) and then what to delete."""
    rng = np.random.default_rng(step)
    ids = [f"p{number}" for number in rng.choice(40, size=rng.integers(1, 8), replace=False)]
    passages = [Passage(id, f"everywhere step{step} {id}", metadata={"step": step}) for id in ids]
    present = sorted(set(model) | set(ids))
    deleted = [str(id) for id in rng.choice(present, size=min(2, len(present) - 1), replace=False)]
    return passages, random_vectors(rng, len(ids)), deleted


def apply_step(step: int, model: Model) -> None:
    passages, vectors, deleted = history(step, model)
    for passage, rows in zip(passages, vectors, strict=True):
        model[passage.id] = (passage, rows)
    for id in deleted:
        del model[id]


def model_after(steps: int) -> Model:
    model: Model = {}
    for step in range(1, steps + 1):
        apply_step(step, model)
    return model
