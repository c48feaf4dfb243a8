"""Draw the learning curves of `nano` from the logs of its rounds.

    python examples/nano/curves.py --logs examples/nano/log-?.jsonl --out examples/nano/curves.svg

Needs matplotlib. Left: the losses, as running means. Right: mean reciprocal rank of the held-out
pairs; the first round's were not told apart by kind.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("svg")
matplotlib.rcParams["svg.hashsalt"] = "nano"  # the same file from the same logs
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402

LOSSES = ("distil", "dense", "late", "haystack")
SMOOTHED = 9  # entries of the log


def running_mean(values: list[float]) -> np.ndarray:
    """Centred mean over SMOOTHED values, fewer at the ends."""
    half = SMOOTHED // 2
    return np.array([np.mean(values[max(0, i - half) : i + half + 1]) for i in range(len(values))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--logs", type=Path, nargs="+", required=True, help="one a round, in order")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    colours = dict(zip((*LOSSES, "code", "text"), plt.cm.tab10.colors, strict=False))
    first = 0
    for log in args.logs:
        entries = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        for name in LOSSES:
            points = [(first + e["step"], e[name]) for e in entries if name in e]
            if points:
                steps, values = zip(*points, strict=True)
                label = name if first == 0 or name == "haystack" else None
                left.plot(steps, running_mean(list(values)), color=colours[name], label=label)
        for entry in (e for e in entries if "mrr" in e):
            x = first + entry["step"]
            kinds = entry["mrr"] if "code" in entry["mrr"] else {"all": entry["mrr"]}
            for kind, heads in kinds.items():
                for head, mark in (("late", "o"), ("dense", "x")):
                    right.plot(x, heads[head], mark, color=colours.get(kind, "grey"), markersize=4)
        first += entries[-1]["step"]
        left.axvline(first, color="lightgrey", linewidth=1)
        right.axvline(first, color="lightgrey", linewidth=1)
    left.set(xlabel="step", title="losses", ylim=(0, 2))
    left.legend()
    for kind, colour in (("all", "grey"), ("code", colours["code"]), ("text", colours["text"])):
        for head, mark in (("late", "o"), ("dense", "x")):
            right.plot([], [], mark, color=colour, markersize=4, label=f"{kind}, {head}")
    right.set(xlabel="step", title="held-out pairs: mean reciprocal rank", ylim=(0.6, 0.92))
    right.legend(fontsize="small", loc="lower right")
    figure.savefig(args.out, metadata={"Date": None})


if __name__ == "__main__":
    main()
