"""What it costs that an index follows its files: of 10,000, none changed, and one changed.

    python -m benchmarks.speed.fresh

copies the files of Python's standard library and Django (as `tour` has them; up to 16 KiB, without
translations) side by side until there are so many, and indexes them by `nano`, with the vectors
that the index of `tour` has where it is there. What was built stays in the work folder. Times
are of whole processes, medians: a query that does not look at the files, one that finds them
unchanged, one that finds a function added to one of them (other files each time), and an update
that does. Then of the library, in a process that has all loaded. Writes docs/results/fresh.md.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from shutil import copyfile
from statistics import median
from typing import Any

from benchmarks.inputs import LEFT_OUT, django, index_of_nano
from benchmarks.results_page import ROOT, write_table
from mbert_retrieval import Index, load_encoder
from mbert_retrieval.encoders.base import chunked
from mbert_retrieval.index import is_index
from mbert_retrieval.packed import Packed
from mbert_retrieval.sources import Selection
from mbert_retrieval.sources.scan import scan
from mbert_retrieval.sources.walk import walk
from mbert_retrieval.sync.apply import apply_plan, sync_with_sources
from mbert_retrieval.sync.plan import plan_sync
from mbert_retrieval.sync.provenance import record

LARGEST = 16 * 2**10  # bytes
TIMES = 9
QUESTION = "how are passwords hashed before they are stored"
ADDED = "\n\ndef added_{n}(value):\n    return value + {n}\n"
LONG_AGO = 10**9  # seconds; so old is every file, as most are


def make_tree(root: Path, work: Path, files: int) -> None:
    """A folder of so many files."""
    sources = [Path(sysconfig.get_path("stdlib")).resolve(), django(work).resolve()]
    chosen = Selection(exclude=(*LEFT_OUT, "locale", "*.so", "*.pyc", "*.whl", "*.png"))
    modules = [
        (source.name, Path(entry.path), Path(entry.path).relative_to(source))
        for source in sources
        for entry in walk(source, [], chosen)
        if entry.stat().st_size <= LARGEST
    ]
    for number in range(files):
        copy, position = divmod(number, len(modules))
        name, file, inside = modules[position]
        target = root / f"copy{copy}" / name / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        copyfile(file, target)
        os.utime(target, (LONG_AGO, LONG_AGO))


class Remembering:
    """`nano`, which does not encode again what an index has vectors of."""

    def __init__(self, encoder: Any, path: Path) -> None:
        self.encoder, self.known = encoder, {}
        self.name, self.kind, self.options = encoder.name, encoder.kind, encoder.options
        self.dimension, self.fingerprint = encoder.dimension, encoder.fingerprint
        if is_index(path):
            self.folder = Index.open(path, encoder).folder
            self.known = {sha256: id for id, sha256 in self.folder.content_hashes().items()}

    def encode_queries(self, texts: list[str]) -> Packed:
        return self.encoder.encode_queries(texts)

    def stream_documents(self, texts: Iterable[str]) -> Iterator[Packed]:
        for chunk in chunked(texts):
            ids = [self.known.get(sha256(text.encode()).hexdigest()) for text in chunk]
            new = [text for text, id in zip(chunk, ids, strict=True) if id is None]
            encoded = iter(self.encoder.encode_documents(new))
            yield Packed.from_sequences(
                [next(encoded) if id is None else self.folder.vectors(id) for id in ids]
            )


def build(tree: Path, path: Path, known: Path) -> None:
    index = Index.create(path, Remembering(load_encoder("nano"), known))
    plan = plan_sync(scan([tree], tree), index.folder)

    def progress(done: int) -> None:
        print(f"\r{done:,} files", end="")

    apply_plan(plan, index.folder, index.encoders, progress)
    record(index.folder, plan.tree)
    print()


def changed_files(root: Path) -> Iterator[Path]:
    """Other files each time, a function more in each."""
    for n, file in enumerate(sorted(root.glob("copy*/*/*/*.py"))[::7]):
        with file.open("a") as opened:
            opened.write(ADDED.format(n=n))
        yield file


def timed(action: Callable[[], object], before: Callable[[], object] = lambda: None) -> float:
    """The median of `TIMES` runs, seconds."""
    spent = []
    for _ in range(TIMES):
        before()
        started = time.perf_counter()
        action()
        spent.append(time.perf_counter() - started)
    return median(spent)


def process(program: str, *arguments: str) -> Callable[[], object]:
    command = [str(Path(sys.executable).with_name(program)), *arguments]
    return lambda: subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--work", type=Path, default=ROOT / ".mbert" / "tour")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    tree, path = work / f"tree-{arguments.files}", index_of_nano(work, f"fresh-{arguments.files}")
    if not tree.exists():
        make_tree(tree, work, arguments.files)
    at = ("--index", str(path))
    build(tree, path, index_of_nano(work, "tour"))
    time.sleep(1.5)  # what was changed by the last run has settled
    query = process("mbert-search", "query", QUESTION, *at)
    query()
    changing = changed_files(tree)

    def change() -> None:
        time.sleep(1.5)
        query()  # takes up that the file changed before has settled
        next(changing)

    rows = {
        "a query, files not looked at": timed(
            process("mbert-search", "query", QUESTION, "--no-update", *at)
        ),
        "a query, no file changed": timed(query),
        "a query, one file changed": timed(query, change),
        "mbert-index update, one file changed": timed(
            process("mbert-index", "update", *at), change
        ),
    }
    index = Index.open(path)
    index.search(QUESTION)

    def sync() -> None:
        sync_with_sources(index.folder, index.encoders)

    sync()
    rows["the library: no file changed"] = timed(sync)
    rows["the library: one file changed"] = timed(sync, lambda: next(changing))
    for name, seconds in rows.items():
        print(f"{name}: {seconds:.3f} s", flush=True)
    head = (
        f"{arguments.files:,} files, {len(index):,} passages, "
        f"medians of {TIMES}:\n\n| what | seconds |\n|---|--:|\n"
    )
    write_table("fresh", head + "\n".join(f"| {name} | {s:.2f} |" for name, s in rows.items()))


if __name__ == "__main__":
    main()
