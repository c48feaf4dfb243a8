"""Find, for each pair, the pairs whose documents its query is nearest to in the teacher's space.

    python examples/nano/neighbours.py --data DIR

Writes DIR/neighbours.npy: (pairs, 8) int32, nearest first, the pair itself left out. train.py puts
a pair and some of its neighbours into one batch (topic-aware sampling, Hofstätter et al. 2021),
where each is a hard negative of the others; which of them are no negatives at all is left to the
teacher's scores.
"""

from __future__ import annotations

import argparse
import gzip
from pathlib import Path

import faiss
import numpy as np
from batches import NEIGHBOURS, teacher_vectors

CELLS, PROBED, SAMPLE = 1024, 12, 60_000


def nearest(queries: np.ndarray, documents: np.ndarray, count: int) -> np.ndarray:
    """(pairs, count) int32 rows of `documents` by inner product, without each query's own; -1 where
    fewer were found. A query of zeros is replaced by its document."""
    index = faiss.index_factory(
        documents.shape[1],
        f"IVF{min(CELLS, len(documents) // 40 + 1)},Flat",
        faiss.METRIC_INNER_PRODUCT,
    )
    random = np.random.default_rng(0)
    sample = random.permutation(len(documents))[:SAMPLE]
    index.train(documents[np.sort(sample)].astype(np.float32))
    index.nprobe = PROBED
    table = np.empty((len(queries), count), np.int32)
    for start in range(0, len(documents), 8192):
        index.add(documents[start : start + 8192].astype(np.float32))
    for start in range(0, len(queries), 8192):
        asked = queries[start : start + 8192].astype(np.float32)
        bare = ~asked.any(axis=1)
        asked[bare] = documents[start : start + 8192][bare]
        _, found = index.search(asked, count + 1)
        own = found == np.arange(start, start + len(found))[:, None]
        own[:, -1] |= ~own.any(axis=1)  # drop the last where the own is not among them
        table[start : start + len(found)] = found[~own].reshape(len(found), count)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="what gather.py, teach.py wrote")
    args = parser.parse_args()
    with gzip.open(args.data / "pairs.jsonl.gz", "rb") as lines:
        count = sum(1 for _ in lines)
    table = nearest(*teacher_vectors(args.data / "teacher", count), NEIGHBOURS)
    np.save(args.data / "neighbours.npy", table)
    print(f"{len(table)} pairs, {(table >= 0).mean():.1%} of the places filled")


if __name__ == "__main__":
    main()
