"""The PLAID engine on a CUDA device against its kernels on the processor of the same machine.

    python -m benchmarks.gpu.plaid [--passages 50000] [--queries 200] [--work DIR]

Made token vectors (`benchmarks/plaid_data.py`), 4 bits, automatic parameters, k = 100. Both build
an index; the one that the processor built is searched by both, in one batch and one query at a
time, and rankings are compared. Writes its section of docs/results/gpu.md.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.gpu.page import need_cuda, publish, table
from benchmarks.speed.plaid_data import Made
from mbert_retrieval import Packed, Passage
from mbert_retrieval.indexes import EncoderIdentity, IndexFolder, Leg
from mbert_retrieval.indexes.device import on_device

DEPTH, REPEATS = 100, 3
PLACES = {"processor": None, "device": "cuda"}


def build(path: Path, passages: Packed, device: str | None) -> tuple[IndexFolder, float]:
    """A committed index, and the seconds."""
    shutil.rmtree(path, ignore_errors=True)
    leg = Leg(EncoderIdentity("made", "0", "late", passages.values.shape[1]), "plaid", {"nbits": 4})
    started = time.perf_counter()
    folder = IndexFolder.create(path, legs=[leg], lexical=False)
    with on_device(device), folder.writer() as writer:
        writer.add([Passage(str(n), "") for n in range(len(passages))], {"late": passages})
        writer.commit()
    return folder, time.perf_counter() - started


def search(folder: IndexFolder, queries: Packed, device: str | None) -> tuple[dict, list]:
    """Milliseconds a query, and the rankings. "engine_ms" is the engine's part of "batch_ms", the
    rest looks up the passages' ids."""
    singles = [Packed.from_sequences([query]) for query in queries][:50]
    with on_device(device):
        hits = folder.search_vectors(queries, DEPTH)
        engine, live = folder._current.segments[0].engines["late"], folder._current.live[0]
        batches, alone, within = [], [], []
        for _ in range(REPEATS):
            started = time.perf_counter()
            folder.search_vectors(queries, DEPTH)
            batches.append(1000 * (time.perf_counter() - started) / len(queries))
            started = time.perf_counter()
            engine.search(queries, live, DEPTH)
            within.append(1000 * (time.perf_counter() - started) / len(queries))
            for single in singles:
                started = time.perf_counter()
                folder.search_vectors(single, DEPTH)
                alone.append(1000 * (time.perf_counter() - started))
    took = {"batch_ms": batches, "engine_ms": within, "alone_ms": alone}
    return {name: statistics.median(values) for name, values in took.items()}, hits


def exact(passages: Packed, queries: Packed) -> list[set[int]]:
    """The DEPTH best by MaxSim of the vectors themselves, float32 on the device."""
    import torch

    values = torch.from_numpy(passages.values).cuda()
    lengths = torch.from_numpy(np.asarray(passages.lengths)).cuda()
    found = []
    for query in queries:
        products = values @ torch.from_numpy(np.asarray(query)).cuda().T
        best = torch.segment_reduce(products, "max", lengths=lengths, unsafe=True).sum(1)
        found.append(set(best.topk(DEPTH).indices.tolist()))
    return found


def agreement(ours: list, theirs: list) -> dict[str, float]:
    """same: share of the passages that both found; first: of queries with the same best passage;
    difference: the largest between two scores of one passage."""
    same, first, difference = 0, 0, 0.0
    for a, b in zip(ours, theirs, strict=True):
        scores, others = dict(a), dict(b)
        both = scores.keys() & others.keys()
        same += len(both)
        first += a[0][0] == b[0][0]
        difference = max(difference, *(abs(scores[id] - others[id]) for id in both))
    total = sum(len(hits) for hits in theirs)
    return {"same": same / total, "first": first / len(ours), "difference": difference}


def recall(hits: list, best: list[set[int]]) -> float:
    pairs = zip(hits, best, strict=False)
    return statistics.mean(len({int(id) for id, _ in a} & b) / DEPTH for a, b in pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--passages", type=int, default=50_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--work", type=Path, help="a folder for the indexes (default: temporary)")
    given = parser.parse_args()
    need_cuda()
    passages, queries = Made(given.passages, given.queries).all()
    best = exact(passages, queries)
    work = given.work or Path(tempfile.mkdtemp())
    numbers: dict[str, dict] = {}
    folders, rankings = {}, {}
    for place, device in PLACES.items():
        folders[place], seconds = build(work / place, passages, device)
        numbers[place] = {"build_s": seconds}
    for place, device in PLACES.items():
        took, rankings[place] = search(folders["processor"], queries, device)
        own = rankings[place]
        if place == "device":
            _, own = search(folders["device"], queries, device)
        numbers[place] |= took | {"recall": recall(own, best)}
    numbers["agreement"] = agreement(rankings["device"], rankings["processor"])
    if given.work is None:
        shutil.rmtree(work)
    columns = [
        "",
        "build, s",
        "query in a batch, ms",
        "of that the engine",
        "query alone, ms",
        "recall@100, own index",
    ]
    rows = [
        [
            place,
            f"{numbers[place]['build_s']:.1f}",
            f"{numbers[place]['batch_ms']:.2f}",
            f"{numbers[place]['engine_ms']:.2f}",
            f"{numbers[place]['alone_ms']:.2f}",
            f"{numbers[place]['recall']:.3f}",
        ]
        for place in PLACES
    ]
    same = numbers["agreement"]
    lines = [
        f"{len(passages):,} passages, {len(passages.values):,} vectors of "
        f"{passages.values.shape[1]} dimensions, {len(queries)} queries, "
        f"{len(os.sched_getaffinity(0))} threads:",
        "",
        *table(columns, rows),
        "",
        f"Both on the index that the processor built: {same['same']:.2%} of the passages found "
        f"are the same, {same['first']:.2%} of the best ones; scores differ by "
        f"{same['difference']:.1e} at most.",
    ]
    publish("plaid", lines, numbers)


if __name__ == "__main__":
    main()
