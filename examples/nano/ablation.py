"""Measure what each ingredient of `nano`'s training contributes: short runs, each without one.

    python examples/nano/ablation.py --data DIR DIR/science DIR/others --out DIR/ablation \\
        --collections "$MBERT_DATA"/cosqa "$MBERT_DATA"/cranfield

Runs train.py for --steps steps with everything, then without each of its ingredients, then on the
first data folder only, all from the same seed, and writes OUT/table.md: nDCG@10 of both heads on
the collections (exact MaxSim), and the mean reciprocal rank over both heads on the held-out pairs
of code and of text. $MBERT_DATA is a folder of BEIR collections. Finished runs are not repeated.
The runs are so short that their scores can only be compared with each other.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import ir_measures
from train import INGREDIENTS

from mbert_retrieval.eval.datasets import read_beir
from mbert_retrieval.eval.peers import open_encoder
from mbert_retrieval.eval.runner import prepare

SPLITS = {"cosqa": "dev", "cranfield": "test"}
HEADS = ("late", "dense")


def quality(model: Path, collections: list[Path]) -> dict[str, float]:
    """Return nDCG@10 by collection and head."""
    scores = {}
    for folder in collections:
        dataset = read_beir(folder, SPLITS[folder.name])
        for head in HEADS:
            with prepare(dataset, open_encoder(str(model), head), engine="flat") as system:
                result, _ = system.evaluate("vector", [ir_measures.nDCG @ 10])
            scores[f"{folder.name} {head}"] = result.measures["nDCG@10"]
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="as for train.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--collections", type=Path, nargs="+", required=True)
    parser.add_argument("--steps", type=int, default=200)
    args = parser.parse_args()
    runs = {"everything": [], **{f"without {name}": ["--without", name] for name in INGREDIENTS}}
    rows: dict[str, dict] = {}
    for name, options in [*runs.items(), ("the first collection alone", [])]:
        out = args.out / name.replace(" ", "-")
        data = args.data[:1] if name not in runs else args.data
        scores = out / "scores.json"
        if not scores.exists():
            command = [sys.executable, str(Path(__file__).with_name("train.py"))]
            command += ["--data", *map(str, data), "--out", str(out), "--steps", str(args.steps)]
            done = subprocess.run([*command, *options], check=True, capture_output=True, text=True)
            held_out = json.loads(done.stdout.splitlines()[-1])["mrr"]
            ndcg = quality(out / "model", args.collections)
            scores.write_text(json.dumps({"quality": ndcg, "held out": held_out}))
        rows[name] = json.loads(scores.read_text())
        print(name, rows[name], flush=True)
    columns = list(rows["everything"]["quality"])
    kinds = list(rows["everything"]["held out"])
    titles = [*columns, *(f"held out, {kind}" for kind in kinds)]
    lines = [f"| {args.steps} steps from scratch | {' | '.join(titles)} |"]
    lines.append("|---|" + "---:|" * len(titles))
    for name, row in rows.items():
        cells = [row["quality"][column] for column in columns]
        cells += [sum(row["held out"][kind].values()) / len(HEADS) for kind in kinds]
        lines.append(f"| {name} | " + " | ".join(f"{cell:.3f}" for cell in cells) + " |")
    (args.out / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
