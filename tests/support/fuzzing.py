"""How many trials the fuzz tests make, from which seed, and what came out of them.

FUZZ_SCALE multiplies the number of trials (default 1: about ten minutes for all, on two slow
cores); FUZZ_SEED starts other sequences of them (default 1).
"""

from __future__ import annotations

import os
import random
from collections import Counter

SCALE = float(os.environ.get("FUZZ_SCALE", "1"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))

# one row per test that ran: what was damaged, and outcome -> trials
outcomes: dict[str, Counter[str]] = {}


def trials(usual: int) -> int:
    """How many trials to make where `usual` is the number at scale 1."""
    return max(1, round(usual * SCALE))


def chance(name: str, trial: int) -> random.Random:
    """What decides one trial; the same for each run with the same seed."""
    return random.Random(f"{SEED} {name} {trial}")


def record(damaged: str, outcome: str, count: int = 1) -> None:
    """Count trials for the table at the end of the run."""
    outcomes.setdefault(damaged, Counter())[outcome] += count


def table() -> list[str]:
    """Return the lines of a Markdown table of what was recorded."""
    columns = sorted({outcome for row in outcomes.values() for outcome in row})
    lines = [f"| damaged | trials | {' | '.join(columns)} |"]
    lines.append("| --- |" + " ---: |" * (len(columns) + 1))
    for damaged, counts in outcomes.items():
        cells = [str(counts.get(column, 0)) for column in columns]
        lines.append(f"| {damaged} | {counts.total():,} | {' | '.join(cells)} |")
    return lines
