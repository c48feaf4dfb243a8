"""Average the weights of runs that began from one state, if that helps on held-out pairs.

    python examples/nano/soup.py --data DIR [DIR ...] --out DIR/model \\
        --states A.safetensors B.safetensors MODEL_FOLDER

A greedy soup (Wortsman et al. 2022): the best state first, then each next one joins the mean if the
mean reciprocal rank of the held-out pairs (over both heads, code and text) does not fall. Prints
every score, writes the folder that the package ships.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from batches import Pairs
from student import Nano, export, nano_config, punctuation_mask, weights_of
from torch import Tensor
from train import evaluate


def mean(states: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([s[name] for s in states]).mean(0) for name in states[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, nargs="+", help="as for train.py")
    parser.add_argument("--states", type=Path, required=True, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    tokenizer = args.data[0] / "tokenizer"
    pairs = Pairs.read(args.data, tokenizer / "tokenizer.json")
    skipped = punctuation_mask(tokenizer / "tokenizer.json")
    model = Nano(nano_config(len(skipped)))

    def score(state: dict[str, Tensor], name: str) -> float:
        model.load_state_dict(state)
        mrr = evaluate(model, pairs, skipped)
        total = float(np.mean([list(heads.values()) for heads in mrr.values()]))
        print(json.dumps({"states": name, "mean": round(total, 4), **mrr}), flush=True)
        return total

    candidates = {str(path): weights_of(path) for path in args.states}
    scores = {name: score(state, name) for name, state in candidates.items()}
    order = sorted(scores, key=scores.__getitem__, reverse=True)
    chosen, best = order[:1], scores[order[0]]
    for name in order[1:]:
        names = (*chosen, name)
        total = score(mean([candidates[n] for n in names]), " + ".join(names))
        if total >= best:
            chosen, best = [*chosen, name], total
    model.load_state_dict(mean([candidates[name] for name in chosen]))
    export(model, tokenizer, skipped, args.out)
    print(json.dumps({"chosen": chosen, "mean": round(best, 4)}))


if __name__ == "__main__":
    main()
