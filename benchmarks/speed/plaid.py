"""The multi-vector engine: quality, latency, size and build time, against brute force and peers.

    python -m benchmarks.speed.plaid --sizes 10000,50000 --growth 5000,200000 --work /tmp/plaid \\
        --fast-plaid ENV/bin/python --xtr-warp ENV/bin/python

Made token vectors of 128 dimensions (`plaid_data.py`) and those of `nano` on CoSQA; two threads;
k = 100; 4 bits and automatic parameters. Everything is measured through `IndexFolder`, from
vectors in memory to a committed index, and from a query's vectors to ids. Brute force is measured
in all ways listed in `BRUTE_FORCE`, and compared with the fastest. Peers run on the first size, in
interpreters of environments that hold them (fast-plaid 1.7, xtr-warp-rs 2.1); without them their
rows are left out. Writes docs/results/plaid.md unless --dry is given.

On a machine where OPENBLAS_CORETYPE is set, unset it: it slows numpy's products.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmarks.inputs import add_data_option
from benchmarks.results_page import write_table
from benchmarks.speed.plaid_data import DIMENSION, Made, cosqa
from mbert_retrieval import Packed, Passage
from mbert_retrieval.indexes import EncoderIdentity, IndexFolder, Leg

DEPTH, REPEATS = 100, 3
PEER_QUERIES = 50


@dataclass
class Run:
    """One system on one collection. milliseconds: of each query, one at a time; batch: of a query
    in a batch; rankings: numbers of the best passages."""

    name: str
    milliseconds: np.ndarray
    rankings: list[list[int]]
    build: float | None = None
    bytes_a_vector: float | None = None
    batch: float | None = None
    facts: dict = field(default_factory=dict)


# ------------------------------------------------------------------------------------- brute force


class Blocks:
    """Passages by length, in blocks of 256 that are filled up to their longest: (256, L, D)."""

    def __init__(self, passages: Packed, dtype: str) -> None:
        import torch

        lengths = passages.lengths
        self.order = np.argsort(lengths, kind="stable")
        self.blocks = []
        for first in range(0, len(lengths), 256):
            some = self.order[first : first + 256]
            block = np.zeros((len(some), int(lengths[some].max()), passages.values.shape[1]), "f4")
            for row, number in zip(block, some.tolist(), strict=True):
                vectors = passages[number]
                row[: len(vectors)], row[len(vectors) :] = vectors, vectors[0]
            self.blocks.append(torch.from_numpy(block).to(getattr(torch, dtype)))
        self.dtype = getattr(torch, dtype)

    def scores(self, query: np.ndarray) -> np.ndarray:
        import torch

        turned = torch.from_numpy(query).to(self.dtype).T
        parts = [(block @ turned).amax(1).float().sum(1) for block in self.blocks]
        scores = np.empty(len(self.order), dtype=np.float32)
        scores[self.order] = torch.cat(parts).numpy()
        return scores


def numpy_scores(passages: Packed) -> Callable[[np.ndarray], np.ndarray]:
    bounds = np.searchsorted(passages.offsets, np.arange(0, passages.offsets[-1], 32_768))
    bounds = np.unique([*bounds, len(passages)])

    def scores(query: np.ndarray) -> np.ndarray:
        parts = []
        for first, last in pairwise(bounds):
            begin, end = passages.offsets[first], passages.offsets[last]
            products = query @ passages.values[begin:end].T
            starts = passages.offsets[first:last] - begin
            parts.append(np.maximum.reduceat(products, starts, axis=1).sum(axis=0))
        return np.concatenate(parts)

    return scores


BRUTE_FORCE: dict[str, Callable[[Packed], Callable[[np.ndarray], np.ndarray]]] = {
    "numpy, float32": numpy_scores,
    "torch, float32": lambda passages: Blocks(passages, "float32").scores,
    "torch, bfloat16": lambda passages: Blocks(passages, "bfloat16").scores,
}


def brute_force(passages: Packed, queries: Packed) -> tuple[Run, dict[str, float]]:
    """The exact rankings, timed in the fastest of all ways; and the milliseconds of each way."""
    medians, rankings, fastest = {}, [], np.zeros(0)
    for name, prepare in BRUTE_FORCE.items():
        scores = prepare(passages)
        scores(queries[0])
        took = []
        for n, query in enumerate(queries):
            if n >= 20 and name != "numpy, float32":
                break
            started = time.perf_counter()
            scored = scores(query)
            top = np.argpartition(-scored, DEPTH)[:DEPTH]
            took.append(1000 * (time.perf_counter() - started))
            if name == "numpy, float32":
                rankings.append(top[np.argsort(-scored[top], kind="stable")].tolist())
        medians[name] = float(np.median(took))
        if medians[name] == min(medians.values()):
            fastest = np.array(took)
    best = min(medians, key=medians.__getitem__)
    return Run(f"brute force ({best})", fastest, rankings), medians


# ------------------------------------------------------------------------------------ this toolkit


@contextmanager
def peak_memory(facts: dict) -> Iterator[None]:
    """Puts the most MiB of anonymous memory that the process grew by under "peak_mib"."""

    def anonymous() -> int:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("RssAnon"):
                return int(line.split()[1]) // 1024
        raise OSError("no RssAnon in /proc/self/status")

    gc.collect()  # give back what was freed: memory that is taken again would not be seen
    ctypes.CDLL(None).malloc_trim(0)
    before, done, most = anonymous(), threading.Event(), [0]

    def watch() -> None:
        while not done.wait(0.02):
            most[0] = max(most[0], anonymous() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
        facts["peak_mib"] = most[0]


def build(path: Path, blocks: Iterable[Packed], dimension: int) -> tuple[IndexFolder, float, dict]:
    """A committed index; the seconds, without those in which the vectors were made."""
    shutil.rmtree(path, ignore_errors=True)
    leg = Leg(EncoderIdentity("made", "0", "late", dimension), "plaid", {"nbits": 4})
    facts: dict = {}
    folder = IndexFolder.create(path, legs=[leg], lexical=False)
    seconds, number = 0.0, 0
    with peak_memory(facts), folder.writer() as writer:
        for block in blocks:
            started = time.perf_counter()
            passages = [Passage(str(number + n), "") for n in range(len(block))]
            writer.add(passages, {"late": block})
            number += len(block)
            seconds += time.perf_counter() - started
        started = time.perf_counter()
        writer.commit()
        seconds += time.perf_counter() - started
    return folder, seconds, facts


def one_at_a_time(folder: IndexFolder, queries: Packed) -> Run:
    took, rankings = [], []
    singles = [Packed.from_sequences([query]) for query in queries]
    folder.search_vectors(singles[0], DEPTH)
    for repeat in range(REPEATS):
        for single in singles:
            started = time.perf_counter()
            (hits,) = folder.search_vectors(single, DEPTH)
            took.append(1000 * (time.perf_counter() - started))
            if repeat == 0:
                rankings.append([int(id) for id, _ in hits])
    batches = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        folder.search_vectors(queries, DEPTH)
        batches.append(1000 * (time.perf_counter() - started) / len(queries))
    run = Run("mbert_retrieval", np.array(took), rankings, batch=float(np.median(batches)))
    segment = folder._current.segments[0]
    size = sum(entry["bytes"] for entry in segment.record.files.values())
    run.bytes_a_vector = size / segment.record.vector_counts["late"]
    return run


def stages(folder: IndexFolder, queries: Packed) -> list[tuple[str, float, float, float]]:
    """Of a query on average: stage, milliseconds, MB that it must read, million operations."""
    segment = folder._current.segments[0]
    engine, live = segment.vectors["late"], folder._current.live[0]
    seconds: dict[str, float] = {}
    counts = {"vectors_by_centroid": 0, "vectors_by_residual": 0, "passages_reached": 0}
    for query in queries:
        _, work = engine.search_measured(Packed.from_sequences([query]), live, DEPTH)
        for name, value in work["seconds"].items():
            seconds[name] = seconds.get(name, 0.0) + value / len(queries)
        for name in counts:
            counts[name] += work[name] / len(queries)
    rows, (centroids, dimension) = len(queries[0]), engine.codec.centroids.shape
    lanes = -(-rows // 16) * 16
    near, far = counts["vectors_by_centroid"], counts["vectors_by_residual"]
    width = engine.codec.bytes_per_residual
    reads = {  # bytes from the index; what is made of the query itself stays in the cache
        "table": 4 * centroids * dimension,
        "levels": 4 * centroids * lanes,
        "probe": centroids * lanes + 4 * counts["passages_reached"],
        "centroids": near * engine.codes.itemsize,
        "selection": 8 * counts["passages_reached"],
        "residuals": far * (width + engine.codes.itemsize),
    }
    operations = {  # a multiplication and an addition count as two, a comparison as one
        "table": 2 * centroids * dimension * lanes,
        "levels": 4 * centroids * lanes,
        "probe": centroids * lanes,
        "centroids": near * lanes,
        "selection": counts["passages_reached"],
        "residuals": 2 * far * dimension * lanes,
    }
    return [
        (name, 1000 * value, reads[name] / 1e6, operations[name] / 1e6)
        for name, value in seconds.items()
    ]


def bare_product(passages: Packed, centroids: int) -> float:
    """Seconds in which numpy finds the nearest of so many centroids for all vectors: product and
    argmax, measured on 2^17 vectors."""
    some = passages.values[: 2**17]
    step = len(passages.values) // centroids
    targets = np.ascontiguousarray(passages.values[::step][:centroids])
    started = time.perf_counter()
    for first in range(0, len(some), 4096):
        (some[first : first + 4096] @ targets.T).argmax(axis=1)
    return (time.perf_counter() - started) * len(passages.values) / len(some)


def recall(run: Run, exact: Run, k: int) -> float:
    pairs = zip(run.rankings, exact.rankings, strict=False)
    return float(np.mean([len(set(ours[:k]) & set(best[:k])) / k for ours, best in pairs]))


# ------------------------------------------------------------------------------------------- peers


def peer(name: str, python: str, work: Path, passages: Packed, queries: Packed) -> Iterator[Run]:
    if not (work / "values.npy").exists():
        work.mkdir(parents=True, exist_ok=True)
        np.save(work / "values.npy", passages.values)
        np.save(work / "offsets.npy", passages.offsets)
    some = queries.values.reshape(len(queries), -1, queries.values.shape[1])[:PEER_QUERIES]
    np.save(work / "queries.npy", some)
    script = Path(__file__).with_name("plaid_peers.py")
    done = subprocess.run(
        [python, script, name, work], stdout=subprocess.PIPE, text=True, check=True
    )
    result = json.loads(done.stdout.splitlines()[-1])
    for setting, measured in result["settings"].items():
        yield Run(
            f"{name}, {setting}",
            np.array(measured["milliseconds"]),
            measured["rankings"],
            result["build"],
            result["bytes"] / len(passages.values),
        )


# ------------------------------------------------------------------------------------------ tables


def row(run: Run, exact: Run) -> str:
    def cell(value: float | None, digits: int) -> str:
        return "" if value is None else f"{value:,.{digits}f}"

    p95 = np.quantile(run.milliseconds, 0.95)
    return (
        f"| {run.name} | {recall(run, exact, 10):.3f} | {recall(run, exact, 100):.3f} "
        f"| {np.median(run.milliseconds):.1f} | {p95:.1f} | {cell(run.batch, 1)} "
        f"| {cell(run.build, 1)} | {cell(run.bytes_a_vector, 1)} |"
    )


HEAD = (
    "| {} | recall@10 | recall@100 | query, ms (median) | p95 | in a batch | build, s "
    "| bytes per vector |\n|---|---|---|---|---|---|---|---|"
)


def measure(title: str, passages: Packed, queries: Packed, work: Path) -> tuple[list[str], Run]:
    """The table of one collection, with lines about it below."""
    exact, ways = brute_force(passages, queries)
    parts = (
        passages.select(range(first, min(first + 1000, len(passages))))
        for first in range(0, len(passages), 1000)
    )
    folder, seconds, facts = build(work / "index", parts, passages.values.shape[1])
    run = one_at_a_time(folder, queries)
    run.build, run.facts = seconds, facts
    engine = folder._current.segments[0].vectors["late"]
    bare = bare_product(passages, len(engine.codec.centroids))
    median = float(np.median(run.milliseconds))
    shape = f"{len(passages):,} passages, {len(passages.values):,} vectors"
    lines = [HEAD.format(f"{title}: {shape}"), row(exact, exact), row(run, exact)]
    notes = [
        f"{min(ways.values()) / median:.0f} times faster than brute force ("
        + ", ".join(f"{name} {value:.0f} ms" for name, value in ways.items())
        + f"); a batch of {len(queries)} has {median / run.batch:.2f} times the throughput; "
        f"build {seconds / bare:.2f} times the bare product that assigns every vector to one of "
        f"{len(engine.codec.centroids):,} centroids ({bare:.1f} s), peak memory above the input "
        f"{facts['peak_mib']:,} MiB.",
        "",
        "| stage of a query | ms | MB read | million operations | GB/s | G operations/s |",
        "|---|---|---|---|---|---|",
    ]
    for name, milliseconds, megabytes, operations in stages(folder, queries):
        notes.append(
            f"| {name} | {milliseconds:.2f} | {megabytes:.2f} | {operations:.1f} "
            f"| {megabytes / milliseconds:.1f} | {operations / milliseconds:.1f} |"
        )
    print("\n".join([*lines, "", *notes]), flush=True)
    return [*lines, "", *notes], exact


def growth(passages: int, work: Path) -> str:
    """A row for a collection that is made, and made again, as it is needed."""
    made = Made(passages, count=50)
    sampled: list[Packed] = []
    starts = iter(range(0, passages, 1000))

    def blocks() -> Iterator[Packed]:
        for block in made.blocks():
            first = next(starts)
            sampled.append(made.queries_of(block, np.arange(first, first + len(block))))
            yield block

    folder, seconds, facts = build(work / "growing", blocks(), DIMENSION)
    queries = Packed.concatenate([each for each in sampled if len(each)])
    run = one_at_a_time(folder, queries)
    scores = []
    for block in made.blocks():
        each = numpy_scores(block)
        scores.append(np.stack([each(query) for query in queries]))
    ranked = np.argsort(-np.concatenate(scores, axis=1), axis=1)[:, :DEPTH].tolist()
    exact = Run("exact", run.milliseconds, ranked)
    started = time.perf_counter()
    IndexFolder.open(folder.path).search_vectors(Packed.from_sequences([queries[0]]), 1)
    first_answer = 1000 * (time.perf_counter() - started)
    folder.close()
    started = time.perf_counter()
    len(IndexFolder.open(folder.path))
    opened = 1000 * (time.perf_counter() - started)
    p95 = np.quantile(run.milliseconds, 0.95)
    vectors = folder._current.segments[0].record.vector_counts["late"]
    line = (
        f"| {passages:,} | {vectors:,} | {recall(run, exact, 10):.3f} "
        f"| {recall(run, exact, 100):.3f} | {np.median(run.milliseconds):.1f} | {p95:.1f} "
        f"| {run.batch:.1f} | {seconds:.1f} | {run.bytes_a_vector:.1f} | {facts['peak_mib']:,} "
        f"| {opened:.0f} | {first_answer:.0f} |"
    )
    print(line, flush=True)
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", default="10000,50000", help="passages, made; peers on the first")
    parser.add_argument("--growth", default="5000,50000,200000", help="passages, made as needed")
    parser.add_argument("--work", type=Path, required=True, help="a folder for indexes")
    parser.add_argument("--fast-plaid", help="a Python that has fast-plaid")
    parser.add_argument("--xtr-warp", help="a Python that has xtr-warp-rs")
    parser.add_argument("--dry", action="store_true", help="print only")
    add_data_option(parser)
    given = parser.parse_args()
    if "OPENBLAS_CORETYPE" in os.environ:
        sys.exit("unset OPENBLAS_CORETYPE and OPENBLAS_L2_SIZE: they slow numpy's products")
    import torch

    torch.set_num_threads(2)
    page = [
        "k = 100, 4 bits, automatic parameters:",
        "",
    ]
    for size in [int(size) for size in given.sizes.split(",") if size]:
        passages, queries = Made(size).all()
        lines, exact = measure("synthetic vectors", passages, queries, given.work)
        if len(page) == 2:
            for name, python in (("fast-plaid", given.fast_plaid), ("xtr-warp", given.xtr_warp)):
                if python:
                    for run in peer(name, python, given.work / f"peers-{size}", passages, queries):
                        lines.insert(3, row(run, exact))
                        print(lines[3], flush=True)
        page += [*lines, ""]
        del passages, exact
    passages, queries = cosqa(given.data)
    lines, _ = measure("CoSQA by `nano`", passages, queries, given.work)
    page += [*lines, ""]
    if given.growth:
        page += [
            "| passages | vectors | recall@10 | recall@100 | query, ms (median) | p95 | in a batch "
            "| build, s | bytes per vector | peak MiB | open, ms | open and first answer, ms |",
            "|---|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        page += [growth(int(size), given.work) for size in given.growth.split(",")]
    if not given.dry:
        write_table("plaid", "\n".join(page).rstrip(), threads=2)


if __name__ == "__main__":
    main()
