"""Dense vectors: FAISS indexes against exact search, on the index's own segments.

    python -m benchmarks.speed.dense [--vectors 200000] [--work FOLDER]

Made vectors of 768 dimensions: documents around topics around fields, of unit length; a query is a
document's vector with noise. One query at a time, k = 10, FAISS's own threads. The first choice is
what `--kind faiss` takes by itself at this size. Writes docs/results/dense.md unless --dry is
given.

On a machine where OPENBLAS_CORETYPE is set, unset it: it slows exact search.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.results_page import write_table
from mbert_retrieval import Packed
from mbert_retrieval.indexes import EncoderIdentity, Leg
from mbert_retrieval.indexes import faiss_engine as dense
from mbert_retrieval.indexes.engine import VectorsWriter

DIMENSION, K, QUERIES, WARM = 768, 10, 200, 5
OTHERS = ["HNSW32,SQ8", "IVF1024,SQ8", "IVF1024,RaBitQ,Refine(SQ8)"]


def made(count: int) -> tuple[np.ndarray, np.ndarray]:
    """(count, 768) and (QUERIES, 768) float32 of unit length."""
    rng = np.random.default_rng(0)

    def around(centres: np.ndarray, which: np.ndarray, spread: float) -> np.ndarray:
        noise = rng.standard_normal((len(which), DIMENSION), dtype=np.float32)
        moved = centres[which] + spread / DIMENSION**0.5 * noise
        return moved / np.linalg.norm(moved, axis=1, keepdims=True)

    fields = around(np.zeros((1, DIMENSION), np.float32), np.zeros(50, int), 1.0)
    topics = around(fields, rng.integers(0, 50, count // 100), 0.8)
    documents = around(topics, rng.integers(0, len(topics), count), 0.7)
    return documents, around(documents, rng.integers(0, count, QUERIES), 0.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--vectors", type=int, default=200_000)
    parser.add_argument("--work", type=Path, help="a folder for the indexes")
    parser.add_argument("--dry", action="store_true", help="print only")
    given = parser.parse_args()
    if "OPENBLAS_CORETYPE" in os.environ:
        sys.exit("unset OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE: they slow exact search")
    import faiss

    documents, queries = made(given.vectors)
    exact = faiss.IndexFlatIP(DIMENSION)
    exact.add(documents)
    took = []
    for query in queries:
        started = time.perf_counter()
        exact.search(query[None], K)
        took.append(time.perf_counter() - started)
    truth = exact.search(queries, K)[1]
    baseline = float(np.median(took))
    lines = [
        f"| {given.vectors:,} vectors of {DIMENSION} dimensions | recall@10 | query, ms | p95 "
        "| times exact's speed | bytes per vector | build, s |",
        "|---|---|---|---|---|---|---|",
        f"| exact (IndexFlatIP) | 1.000 | {1000 * baseline:.2f} "
        f"| {1000 * np.quantile(took, 0.95):.2f} | 1.0 | {4 * DIMENSION} |  |",
    ]
    print("\n".join(lines), flush=True)
    del exact
    live = np.ones(len(documents), dtype=bool)
    singles = [Packed.from_rows(query[None]) for query in queries]
    with TemporaryDirectory(dir=given.work) as work:
        for factory in [None, *OTHERS]:
            folder = Path(work) / (factory or "automatic").replace(",", "-")
            folder.mkdir()
            writer = VectorsWriter(folder, DIMENSION)
            writer.append(Packed.from_rows(documents))
            writer.finish()
            settings = {"factory": factory} if factory else {}
            leg = Leg(EncoderIdentity("made", "0", "dense", DIMENSION), "faiss", settings)
            started = time.perf_counter()
            dense.build(folder, leg, [])
            built = time.perf_counter() - started
            engine = dense.load(folder, len(documents), len(documents), DIMENSION)
            took, hits = [], 0
            for n, single in enumerate(singles[:WARM] + singles):
                started = time.perf_counter()
                ((numbers, _),) = engine.search(single, live, K)
                if n >= WARM:
                    took.append(time.perf_counter() - started)
                    hits += len(set(numbers.tolist()) & set(truth[n - WARM].tolist()))
            size = sum(file.stat().st_size for file in folder.iterdir()) / len(documents)
            median = float(np.median(took))
            name = engine.facts()["engine"] + ("" if factory else " (automatic)")
            lines.append(
                f"| {name} | {hits / K / QUERIES:.3f} | {1000 * median:.2f} "
                f"| {1000 * np.quantile(took, 0.95):.2f} | {baseline / median:.1f} | {size:,.0f} "
                f"| {built:.1f} |"
            )
            print(lines[-1], flush=True)
    if not given.dry:
        write_table("dense", "\n".join(lines))


if __name__ == "__main__":
    main()
