"""Token pooling: how many vectors a document keeps, and what that costs in quality.

    python -m benchmarks.quality.pooling

indexes Cranfield (the folder --data) and manual pages (`mbert-eval collect manpages`, built first)
by all and 1/2, 1/3 and 1/4 of their vectors (`load_encoder(..., pool_factor=F)`), in plaid, and
asks them without BM25. Indexes stay in the cache and are not built again. Writes
docs/results/pooling.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from benchmarks.inputs import add_data_option
from benchmarks.results_page import ROOT, write_table
from mbert_retrieval import InputError, load_encoder
from mbert_retrieval.eval.collections import manpages
from mbert_retrieval.eval.datasets import read_beir
from mbert_retrieval.eval.measures import parse_measures
from mbert_retrieval.eval.runner import prepare

FACTORS = (1, 2, 3, 4)
COLLECTIONS = ("cranfield", "manpages")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--encoder", default="nano", help="name or folder, late interaction")
    parser.add_argument("--length", type=int, help="tokens read of a document; default: its own")
    add_data_option(parser)
    parser.add_argument("--cache", type=Path, default=ROOT / ".mbert" / "quality")
    parser.add_argument("--collections", nargs="+", default=COLLECTIONS, choices=COLLECTIONS)
    arguments = parser.parse_args()
    measures = parse_measures("nDCG@10")
    rows = [["factor"], ["--:"], *([str(factor)] for factor in FACTORS)]
    try:
        for name in arguments.collections:
            folder = arguments.data / name
            if name == "manpages":
                folder = arguments.cache / "collections" / name
                if not folder.is_dir():
                    manpages.collect(folder)
            dataset = read_beir(folder, "test")
            rows[0] += [f"{name} nDCG@10", "vectors per document", "bytes per document"]
            rows[1] += 3 * ["--:"]
            for row, factor in zip(rows[2:], FACTORS, strict=True):
                encoder = load_encoder(
                    arguments.encoder,
                    "late",
                    pool_factor=factor,
                    document_length=arguments.length,
                )
                with prepare(dataset, encoder, cache=arguments.cache) as system:
                    result, _ = system.evaluate("vector", measures)
                    leg = system.index.folder.info()["legs"]["late"]
                vectors = leg["vectors"] / dataset.documents
                row += [f"{result.measures['nDCG@10']:.3f}", f"{vectors:.0f}"]
                row.append(f"{vectors * leg['bytes_per_vector']:,.0f}")
                print(name, *row, file=sys.stderr, flush=True)
    except InputError as error:
        sys.exit(f"pooling: {error}")
    head = "Late interaction in plaid, bytes of the index's vectors:\n\n"
    write_table("pooling", head + "\n".join("| " + " | ".join(row) + " |" for row in rows))


if __name__ == "__main__":
    main()
