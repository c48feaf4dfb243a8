"""Find, for each pair, the pairs whose documents its query is nearest to.

    python examples/nano/neighbours.py --data DIR
    python examples/nano/neighbours.py --data DIR --encoder nano

Nearest in the teacher's space, or by the dense head of an earlier round: what that takes for the
answer. Writes DIR/neighbours.npy: (pairs, 8) int32, nearest first, the pair itself left out.
train.py puts a pair and some of its neighbours into one batch (topic-aware sampling, Hofstätter et
al. 2021), where each is a hard negative of the others; which of them are no negatives at all is
left to the teacher's scores.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import faiss
import numpy as np
from batches import NEIGHBOURS, SHORT_TOKENS, read_pairs, teacher_vectors
from tqdm import tqdm

from mbert_retrieval import load_encoder

CELLS, PROBED, SAMPLE = 1024, 12, 60_000
PART = 8192  # pairs encoded or searched at once


def nearest(queries: np.ndarray, documents: np.ndarray, count: int) -> np.ndarray:
    """(pairs, count) int32 rows of `documents` by inner product, without each query's own; -1 if
    there are fewer. A query of zeros is replaced by its document."""
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
    for start in range(0, len(documents), PART):
        index.add(documents[start : start + PART].astype(np.float32))
    for start in range(0, len(queries), PART):
        batch = queries[start : start + PART].astype(np.float32)
        empty = ~batch.any(axis=1)
        batch[empty] = documents[start : start + PART][empty]
        _, nearby = index.search(batch, count + 1)
        own = nearby == np.arange(start, start + len(nearby))[:, None]
        own[:, -1] |= ~own.any(axis=1)  # drop the last one if the own is not among them
        table[start : start + len(nearby)] = nearby[~own].reshape(len(nearby), count)
    return table


def encoded(rows: list[dict], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of queries and documents by a dense encoder, (pairs, D) float16; zeros without a
    query."""
    encoder = load_encoder(name, "dense", document_length=SHORT_TOKENS)
    queries, documents = np.zeros((2, len(rows), encoder.dimension), np.float16)
    for start in tqdm(range(0, len(rows), PART)):
        part = rows[start : start + PART]
        documents[start : start + PART] = encoder.encode_documents(
            [row["document"] for row in part]
        ).values
        with_query = [i for i, row in enumerate(part) if row["query"]]
        queries[start + np.array(with_query, int)] = encoder.encode_queries(
            [part[i]["query"] for i in with_query]
        ).values
    return queries, documents


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="what gather.py, teach.py wrote")
    parser.add_argument("--encoder", help="an earlier round, instead of the teacher")
    args = parser.parse_args()
    rows = read_pairs(args.data / "pairs.jsonl.gz")
    if args.encoder:
        vectors = encoded(rows, args.encoder)
    else:
        vectors = tuple(
            teacher_vectors(args.data / "teacher", side, len(rows))
            for side in ("queries", "documents")
        )
    table = nearest(*vectors, NEIGHBOURS)
    np.save(args.data / "neighbours.npy", table)
    print(f"{len(table)} pairs, {(table >= 0).mean():.1%} of the table filled")


if __name__ == "__main__":
    main()
