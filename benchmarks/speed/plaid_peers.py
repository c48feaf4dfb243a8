"""A peer's side of `plaid.py`, run by the interpreter of an environment that holds it:

    PYTHON benchmarks/plaid_peers.py fast-plaid|xtr-warp FOLDER

FOLDER has values.npy, offsets.npy, queries.npy (Q, 32, D). The index is built there once, which can
take a quarter of an hour, and its seconds are stored beside it. Prints a line of JSON: seconds to
build, bytes on the disk, and for each setting the milliseconds of each query and the rankings.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

THREADS, DEPTH = 2, 100

Search = Callable[[torch.Tensor], list[list[tuple[int, float]]]]


def fast_plaid(folder: Path, passages: list[torch.Tensor]) -> Iterator[Any]:
    from fast_plaid import search

    index = search.FastPlaid(index=str(folder / "fast-plaid"), device="cpu")
    if passages:
        index.create(documents_embeddings=passages)
    yield
    for name, settings in (
        ("default", {}),
        ("fast", {"n_full_scores": 1024, "n_ivf_probe": 4}),
    ):
        yield (
            name,
            lambda query, settings=settings: index.search(
                queries_embeddings=query, top_k=DEPTH, show_progress=False, **settings
            ),
        )


def xtr_warp(folder: Path, passages: list[torch.Tensor]) -> Iterator[Any]:
    from xtr_warp.search import XTRWarp

    index = XTRWarp(index=str(folder / "xtr-warp"))
    if passages:
        index.create(embeddings_source=passages, device="cpu", show_progress=False)
    index.load(device="cpu")
    yield
    high = {"nprobe": 32, "bound": 1024, "t_prime": 50_000, "max_candidates": 8192}
    for name, settings in (
        ("default", {}),
        ("high", {**high, "centroid_score_threshold": 0.0}),
    ):
        yield (
            name,
            lambda query, settings=settings: index.search(
                query, top_k=DEPTH, num_threads=THREADS, show_progress=False, **settings
            ),
        )


def main(name: str, folder: Path) -> None:
    torch.set_num_threads(THREADS)
    queries = torch.from_numpy(np.load(folder / "queries.npy"))
    record = folder / f"{name}.json"
    passages: list[torch.Tensor] = []  # none: the index is there
    if not record.exists():
        shutil.rmtree(folder / name, ignore_errors=True)
        lengths = np.diff(np.load(folder / "offsets.npy")).tolist()
        passages = list(torch.from_numpy(np.load(folder / "values.npy")).split(lengths))
    steps = {"fast-plaid": fast_plaid, "xtr-warp": xtr_warp}[name](folder, passages)
    started = time.perf_counter()
    next(steps)
    if passages:
        record.write_text(json.dumps({"build": time.perf_counter() - started}))
    result: dict[str, Any] = json.loads(record.read_text()) | {"settings": {}}
    files = (folder / name).rglob("*")
    result["bytes"] = sum(file.stat().st_size for file in files if file.is_file())
    for setting, search in steps:
        search(queries[:1])
        milliseconds, rankings = [], []
        for query in queries:
            started = time.perf_counter()
            (hits,) = search(query[None])
            milliseconds.append(1000 * (time.perf_counter() - started))
            rankings.append([int(hit[0]) for hit in hits])
        result["settings"][setting] = {"milliseconds": milliseconds, "rankings": rankings}
    print(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
