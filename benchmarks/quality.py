"""Retrieval quality of an encoder, alone and with BM25, on CoSQA and Cranfield.

    python benchmarks/quality.py --encoder nano

writes one result file a cell to eval/results/ and the table of all results there to README.md,
between the lines `<!-- quality:begin -->` and `<!-- quality:end -->`. A reference system gets its
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

from mbert_retrieval import InputError
from mbert_retrieval.eval.datasets import Dataset, read_beir
from mbert_retrieval.eval.files import write_whole
from mbert_retrieval.eval.measures import parse_measures
from mbert_retrieval.eval.peers import open_encoder
from mbert_retrieval.eval.report import markdown_table
from mbert_retrieval.eval.results import Result, read_results
from mbert_retrieval.eval.runner import prepare

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "eval" / "results"
SPLITS = {"cosqa": "dev", "cranfield": "test"}
MEASURES = "nDCG@10 R@100 RR@10 AP@100"
BEGIN, END = "<!-- quality:begin -->", "<!-- quality:end -->"


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
        write_table(ROOT / "README.md", command)
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


def write_table(readme: Path, command: str) -> None:
    """Replace what stands between the markers. Raises InputError when they are not there."""
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise InputError(f"{readme} has no lines {BEGIN} and {END} to put the table between")
    table = markdown_table(read_results(RESULTS))
    write_whole(readme, f"{head}{begin}\nMade by `{command}`:\n\n{table}{end}{tail}")


def _slug(system: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", system.lower()).strip("-")


if __name__ == "__main__":
    main()
