"""`docs/results/gpu.md`: what the scripts of this folder measured, a section each.

A script hands in its section, and the page is written anew from the sections in `gpu.json` beside
it. What was never run is named as not measured.
"""

from __future__ import annotations

import json
import shlex
import statistics
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import torch

PAGE = Path(__file__).resolve().parents[2] / "docs" / "results" / "gpu.md"
SECTIONS = {  # by script, in the order of the page
    "check": "Correctness on CUDA",
    "encode": "Encoding and training",
    "maxsim": "MaxSim",
    "plaid": "PLAID on the device",
}
HEAD = """# On a GPU

Written by the scripts in `benchmarks/gpu/`, each its own section, from the numbers in `gpu.json`.
Inputs are random; times are medians after a warm-up, on the device by CUDA events.
"""


def need_cuda() -> None:
    if not torch.cuda.is_available():
        sys.exit("this machine has no CUDA device")


def median_seconds(run: Callable[[], object], repeats: int = 5) -> float:
    """By CUDA events, after two runs that do not count."""
    run()
    run()
    took = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        end.synchronize()
        took.append(start.elapsed_time(end) / 1000)
    return statistics.median(took)


def table(columns: list[str], rows: list[list[str]]) -> list[str]:
    lines = [columns, ["---"] * len(columns), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def publish(name: str, lines: list[str], numbers: Any, page: Path = PAGE) -> None:
    """Put a section on the page. lines: Markdown; numbers: what they were made of, for the JSON."""
    section = {
        "command": shlex.join(["python", "-m", f"benchmarks.gpu.{name}", *sys.argv[1:]]),
        "card": torch.cuda.get_device_name(),
        "driver": _driver(),
        "torch": torch.__version__,
        "date": date.today().isoformat(),
        "lines": lines,
        "numbers": numbers,
    }
    raw = page.with_suffix(".json")
    sections = json.loads(raw.read_text(encoding="utf-8")) if raw.is_file() else {}
    sections[name] = section
    page.parent.mkdir(parents=True, exist_ok=True)
    raw.write_text(json.dumps(sections, indent=1) + "\n", encoding="utf-8")
    text = "\n".join(_rendered(sections))
    page.write_text(text, encoding="utf-8")
    print("\n".join(lines), flush=True)


def _rendered(sections: dict[str, dict]) -> list[str]:
    out = [HEAD]
    for name, title in SECTIONS.items():
        out += [f"## {title}", ""]
        section = sections.get(name)
        if section is None:
            out += [f"Not measured (`python -m benchmarks.gpu.{name}`).", ""]
            continue
        facts = "`{command}`, {card}, driver {driver}, torch {torch}, {date}.".format(**section)
        out += [*section["lines"], "", facts, ""]
    return out


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.split("\n")[0].strip()
