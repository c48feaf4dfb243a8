"""Retrieval quality of an encoder, alone and with BM25, on CoSQA and Cranfield.

    python benchmarks/quality.py --encoder nano

writes one result file a cell to eval/results/ and the table of all results there to README.md and
to nano's model card, between their quality markers. A reference system gets its
row by `mbert-eval run ... --output eval/results/NAME.json`.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from readme import README, write_table

from mbert_retrieval import InputError
from mbert_retrieval.eval.datasets import Dataset, read_beir
from mbert_retrieval.eval.measures import parse_measures
from mbert_retrieval.eval.peers import open_encoder
from mbert_retrieval.eval.report import markdown_table
from mbert_retrieval.eval.results import Result, read_results
from mbert_retrieval.eval.runner import prepare

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "eval" / "results"
SPLITS = {"cosqa": "dev", "cranfield": "test"}
MEASURES = "nDCG@10 R@100 RR@10 AP@100"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--encoder", default="nano", help="name or folder, with both heads")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--cache", type=Path, default=ROOT / ".mbert" / "quality")
    arguments = parser.parse_args()
    try:
        late = open_encoder(arguments.encoder, "late")
        dense = open_encoder(arguments.encoder, "dense")
        for name, split in SPLITS.items():
            dataset = read_beir(arguments.data / name, split)
            for result in measure(dataset, late, dense, arguments.cache):
                result.write(RESULTS / f"{name}-{split}-{_slug(result.system)}.json")
                print(f"{name} {split} {result.system}: {result.measures}", file=sys.stderr)
        command = shlex.join(["python", "benchmarks/quality.py", "--encoder", arguments.encoder])
        table = markdown_table(read_results(RESULTS)).rstrip()
        for page in (README, ROOT / "mbert_retrieval" / "encoders" / "nano" / "README.md"):
            write_table("quality", f"Made by `{command}`:\n\n{table}", page)
    except InputError as error:
        sys.exit(f"quality: {error}")


def measure(dataset: Dataset, late: Any, dense: Any, cache: Path) -> Iterator[Result]:
    """BM25, then each head alone and fused with BM25; one index a head."""
    cells = [
        (None, None, ["lexical"]),
        (dense, "faiss", ["vector", "hybrid"]),
        (late, "flat", ["vector", "hybrid"]),
    ]
    for encoder, kind, modes in cells:
        with prepare(dataset, encoder, kind=kind, cache=cache) as system:
            for mode in modes:
                yield system.evaluate(mode, parse_measures(MEASURES))[0]


def _slug(system: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", system.lower()).strip("-")


if __name__ == "__main__":
    main()
