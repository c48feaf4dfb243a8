"""Do everything with an index that may be damaged, and say what came of each."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mbert_retrieval import InputError, Packed, Passage
from mbert_retrieval.cli import start
from mbert_retrieval.indexes import IndexFolder
from support.index_model import DIMENSION, packed, random_vectors

FAILED = "failed"
REFUSED = "refused"


def use(path: str) -> dict[str, list]:
    """Return operation -> [REFUSED or FAILED, message], or ["ok", digest of the result]."""
    results: dict[str, list] = {}

    def attempt(name: str, operation: Callable[[], Any]) -> Any:
        try:
            result = operation()
        except InputError as error:
            is_one_line = "\n" not in str(error) and len(str(error)) < 3000
            results[name] = [REFUSED if is_one_line else FAILED, str(error)[:400]]
        except Exception as error:
            frame = error.__traceback__
            while frame is not None and frame.tb_next is not None:
                frame = frame.tb_next
            file = Path(frame.tb_frame.f_code.co_filename).name if frame else ""
            line = frame.tb_lineno if frame else 0
            results[name] = [
                FAILED,
                f"{type(error).__name__}: {str(error)[:200]} ({file}:{line})",
            ]
        else:
            results[name] = ["ok", hashlib.sha256(repr(result).encode()).hexdigest()[:12]]
            return result
        return None

    folder = attempt("open", lambda: IndexFolder.open(path))
    if folder is None:
        return results
    results["open"] = ["ok", ""]
    rng = np.random.default_rng(3)
    query = rng.standard_normal((2, DIMENSION)).astype(np.float32)
    first = attempt("first", lambda: next(iter(folder.content_hashes()), None))
    for leg in folder.legs:
        queries = Packed.from_sequences([query[:1] if leg == "dense" else query])
        for where in (None, "step > 1"):
            name = f"search {leg} {where or ''}"
            attempt(name, partial(folder.search_vectors, queries, 9, where, leg))
        if first:
            attempt(f"vectors {leg}", partial(folder.vectors, first, leg))
    attempt("search words", lambda: folder.search_lexical(["everywhere p3", "step2"], 9))
    attempt("filter", lambda: folder.search_lexical(["p3"], 9, where="text GLOB '*p3*'"))
    attempt("count", lambda: len(folder))
    ids = attempt("ids", lambda: list(folder.content_hashes())) or []
    attempt("passages", lambda: folder.passages(ids[:50]))
    attempt("passages at", lambda: folder.passages_at("a.py"))
    attempt("sample", lambda: folder.sample(5))
    attempt("spelling", lambda: folder.spelling("everywere stpe2"))
    attempt("values", lambda: folder.values_of("step", 5))
    attempt("files", lambda: sorted(folder.file_states()))
    attempt("settings", lambda: folder.settings)
    attempt("newest", folder.is_newest)
    attempt("info", folder.info)
    attempt("verify", folder.verify)
    if results["verify"][0] == "ok" and (problems := folder.verify()):
        results["verify"] = [REFUSED, problems[0]]
    results.pop("info") if results["info"][0] == "ok" else None  # it has the size of all files
    attempt("write", lambda: _write(folder, ids))
    attempt("compact", lambda: _compact(folder))
    attempt("search after", lambda: folder.search_lexical(["everywhere"], 9) and None)
    return results


def _write(folder: IndexFolder, ids: list[str]) -> None:
    with folder.writer() as writer:
        vectors = packed(folder.legs, random_vectors(np.random.default_rng(5), 2))
        writer.add([Passage("new", "everywhere new"), Passage("p2", "everywhere p2")], vectors)
        writer.delete(ids[:1])
        writer.commit()


def _compact(folder: IndexFolder) -> None:
    with folder.writer() as writer:
        writer.compact(everything=True)


def command(name: str, *arguments: str) -> int:
    """Run a command of the package. Return its exit code; an unexpected error is 70."""
    sys.argv = [f"mbert-{name}", *arguments]
    try:
        getattr(start, name)()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    return 0
