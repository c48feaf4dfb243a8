"""Retrieval quality of an encoder, alone and with BM25, on four collections.

    python -m benchmarks.quality.judged_collections --encoder nano

measures on CoSQA and Cranfield (the folder --data), and on manual pages and Python functions, which
it builds from packages first (`mbert-eval collect`). It writes one result file a cell to
eval/results/ and the table of all results there to docs/results/quality.md and to nano's model
card; `mbert-eval report eval/results` prints the same table, and with --format html the plots.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.inputs import add_data_option
from benchmarks.results_page import CARD, ROOT, write_table
from mbert_retrieval import InputError
from mbert_retrieval.eval.collections import manpages, python
from mbert_retrieval.eval.datasets import Dataset, read_beir
from mbert_retrieval.eval.measures import parse_measures
from mbert_retrieval.eval.page import as_markdown
from mbert_retrieval.eval.peers import limit_lengths, open_encoder
from mbert_retrieval.eval.results import Result, cell_file, read_results
from mbert_retrieval.eval.runner import LATENCY_QUERIES, prepare

RESULTS = ROOT / "eval" / "results"
SPLITS = {"cosqa": "dev", "cranfield": "test", "python": "test", "manpages": "test"}
BUILT = {"python": python.collect, "manpages": manpages.collect}
MEASURES = "nDCG@10 R@100 RR@10 AP@100"
SHOWN = ["nDCG@10", "R@100"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--encoder", default="nano", help="name or folder, with both heads")
    parser.add_argument("--peer", help="a model to compare with, as mbert-eval run --encoder")
    parser.add_argument("--peer-name", help="what the table calls it")
    add_data_option(parser)
    parser.add_argument("--cache", type=Path, default=ROOT / ".mbert" / "quality")
    parser.add_argument("--collections", nargs="+", default=list(SPLITS), choices=list(SPLITS))
    parser.add_argument("--long", type=int, help="read so many tokens of a manual page as well")
    arguments = parser.parse_args()
    try:
        for name in arguments.collections:
            folder = arguments.data / name
            if name in BUILT:
                folder = arguments.cache / "collections" / name
                if not folder.is_dir():
                    BUILT[name](folder)
            for result in measure(read_beir(folder, SPLITS[name]), arguments):
                result.write(RESULTS / cell_file(name, SPLITS[name], result.system))
                print(f"{name} {result.system}: {result.measures}", file=sys.stderr)
        order = list(SPLITS)
        results = sorted(read_results(RESULTS), key=lambda r: order.index(r.dataset["name"]))
        table = as_markdown(results, SHOWN).rstrip()
        for page in (None, CARD):
            write_table("quality", table, page)
    except InputError as error:
        sys.exit(f"judged_collections: {error}")


def measure(dataset: Dataset, arguments: argparse.Namespace) -> Iterator[Result]:
    """BM25, then each head alone and fused with BM25, one index a head; then the peer, and the
    heads reading whole pages."""
    plans: list[tuple[str | None, str | None, int | None]] = [(None, None, None)]
    plans += [(arguments.encoder, head, None) for head in ("dense", "late")]
    if arguments.peer:
        plans.append((arguments.peer, None, None))
    if arguments.long and dataset.name == "manpages":
        plans += [(arguments.encoder, head, arguments.long) for head in ("dense", "late")]
    for name, head, length in plans:
        encoder: Any = None if name is None else open_encoder(name, head)
        if length is not None:
            limit_lengths(encoder, None, length)
        modes = ["lexical"] if encoder is None else ["vector", "hybrid"]
        peer = name is not None and name == arguments.peer
        with prepare(dataset, encoder, cache=arguments.cache) as system:
            for mode in modes[:1] if peer else modes:
                label = arguments.peer_name if peer else None
                result, _ = system.evaluate(
                    mode, parse_measures(MEASURES), name=label, latency_queries=LATENCY_QUERIES
                )
                if length is not None:
                    result = replace(result, system=f"{result.system}, {length} tokens")
                yield result


if __name__ == "__main__":
    main()
