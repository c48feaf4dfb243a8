"""A dataset and a system to a result: build the index, search every judged query, measure.

The index is built once for an encoder and kind, and searched in as many modes as wanted:

    with prepare(dataset, encoder, kind="flat", cache=Path(".mbert")) as system:
        for mode in ("vector", "hybrid"):
            result, run = system.evaluate(mode, parse_measures("nDCG@10 R@100"))
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .datasets import Dataset
from .files import sha256_of
from .measures import Measure, cutoff_of, score
from .results import Result, environment, now, peak_memory_bytes
from .runs import Run

if TYPE_CHECKING:
    from ..encoding import AnyEncoder
    from ..index import Index

MODES = ("vector", "lexical", "hybrid")
QUERY_BATCH = 32


@dataclass(frozen=True)
class System:
    """An index of a dataset's corpus, ready to be searched.

    encoder, kind: None when there is BM25 alone.
    seconds: what building took; reused: how many documents were there before.
    """

    dataset: Dataset
    index: Index
    encoder: AnyEncoder | None
    kind: str | None
    seconds: float
    reused: int

    def evaluate(
        self,
        mode: str,
        measures: Sequence[Measure],
        *,
        k: int = 100,
        drop_own_id: bool = False,
        name: str | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> tuple[Result, Run]:
        """Search all judged queries for `k` documents each and measure.

        drop_own_id: leave out a document with the query's own id (BEIR's rule, for collections
            whose queries are documents). Only then: in others equal ids mean nothing.
        name: how tables call the system; made from encoder, kind and mode when not given.
        progress: called with the number of queries done so far.

        Raises InputError when the mode needs an encoder and there is none, or `k` is too small for
        a measure.
        """
        check_mode(mode, self.encoder)
        check_depth(k, measures)
        started = time.perf_counter()
        run = self._search(mode, k, drop_own_id, progress)
        seconds = time.perf_counter() - started
        name = name or system_name(self.encoder, self.kind, mode)
        _check_finite(run, name)
        result = _result(
            self.dataset,
            name,
            run,
            measures,
            encoder=_describe(self.encoder),
            index={"kind": self.kind, "seconds": self.seconds, "reused": self.reused},
            search={"mode": mode, "k": k, "drop_own_id": drop_own_id, "seconds": seconds},
        )
        return result, run

    def _search(
        self,
        mode: str,
        k: int,
        drop_own_id: bool,
        progress: Callable[[int], None] | None,
    ) -> Run:
        run: Run = {}
        queries = list(self.dataset.queries.items())
        for start in range(0, len(queries), QUERY_BATCH):
            batch = queries[start : start + QUERY_BATCH]
            depth = k + 1 if drop_own_id else k
            rankings = self.index.search_many([text for _, text in batch], depth, mode)
            for (query, _), ranking in zip(batch, rankings, strict=True):
                if drop_own_id:
                    ranking = [pair for pair in ranking if pair[0] != query]
                run[query] = dict(ranking[:k])
            if progress is not None:
                progress(len(run))
        return run


@contextmanager
def prepare(
    dataset: Dataset,
    encoder: AnyEncoder | None,
    *,
    kind: str | None = None,
    cache: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[System]:
    """Index a dataset's corpus, with BM25 always and with the encoder's vectors when there is one.

    kind: "plaid", "flat" or "faiss"; by default faiss for a dense encoder and plaid for a late one.
    cache: a folder that keeps indexes, one for each corpus, encoder and kind. One that an
        interruption left is carried on with. None = a temporary folder.
    progress: called with the number of documents done so far.

    Raises InputError for a kind without an encoder, and what `Index` raises.
    """
    from ..index import Index
    from ..indexes.manifest import DEFAULT_KINDS

    if encoder is None and kind is not None:
        raise InputError(f"index kind {kind} needs an encoder: name one, or no kind")
    if encoder is not None and kind is None:
        kind = DEFAULT_KINDS[encoder.kind]
    with TemporaryDirectory() if cache is None else _kept(cache) as root:
        folder = Path(root) / _index_name(dataset, encoder, kind)
        started = time.perf_counter()
        index = Index.create(folder, encoder, kind=kind, lexical=True)
        changes = index.sync(dataset.passages(), progress)
        seconds = time.perf_counter() - started
        yield System(dataset, index, encoder, kind, seconds, reused=changes.unchanged)


def score_run(dataset: Dataset, path: Path, run: Run, measures: Sequence[Measure]) -> Result:
    """Measure a run that was read from a file.

    Raises InputError when none of its queries is judged.
    """
    if not run.keys() & dataset.qrels.keys():
        raise InputError(
            f"none of the queries in {path} is judged in {dataset.name} {dataset.split}: "
            "is it the right split?"
        )
    search = {"run_file": path.name, "sha256": sha256_of(path)}
    return _result(dataset, path.stem, run, measures, encoder=None, index=None, search=search)


def check_mode(mode: str, encoder: Any) -> None:
    """Raises InputError for a mode that is none, or one that needs the encoder that is missing."""
    if mode not in MODES:
        raise InputError(f"unknown mode {mode!r}: choose one of {', '.join(MODES)}")
    if encoder is None and mode != "lexical":
        raise InputError(f"mode {mode} needs an encoder: name one, or search in mode lexical")


def check_depth(k: int, measures: Sequence[Measure]) -> None:
    """Raises InputError when `k` results are too few for a measure's cutoff."""
    if k < 1:
        raise InputError(f"k must be at least 1, not {k}")
    for measure in measures:
        cutoff = cutoff_of(measure)
        if cutoff is not None and cutoff > k:
            raise InputError(f"{measure} looks at {cutoff} results: set k to at least {cutoff}")


def system_name(encoder: AnyEncoder | None, kind: str | None, mode: str) -> str:
    """ "BM25", "nano late (flat)", "nano dense (faiss) + BM25"."""
    if encoder is None or mode == "lexical":
        return "BM25"
    vectors = f"{Path(encoder.name).name} {encoder.kind} ({kind})"
    return vectors if mode == "vector" else f"{vectors} + BM25"


def _result(
    dataset: Dataset,
    system: str,
    run: Run,
    measures: Sequence[Measure],
    *,
    encoder: dict[str, Any] | None,
    index: dict[str, Any] | None,
    search: dict[str, Any],
) -> Result:
    scores = score(list(measures), dataset.qrels, run)
    without = sum(not run.get(query) for query in dataset.qrels)
    return Result(
        system=system,
        dataset={
            "name": dataset.name,
            "split": dataset.split,
            "documents": dataset.documents,
            "queries": len(dataset.qrels),
            "judgements": sum(map(len, dataset.qrels.values())),
            "checksums": dataset.checksums,
        },
        encoder=encoder,
        index=index,
        search={**search, "queries_without_results": without},
        measures=scores.mean,
        per_query=scores.per_query,
        environment=environment(),
        peak_memory_bytes=peak_memory_bytes(),
        created=now(),
    )


def _describe(encoder: Any) -> dict[str, Any] | None:
    if encoder is None:
        return None
    return {
        "name": encoder.name,
        "fingerprint": encoder.fingerprint,
        "kind": encoder.kind,
        "dimension": encoder.dimension,
    }


def _index_name(dataset: Dataset, encoder: AnyEncoder | None, kind: str | None) -> str:
    """A folder name that no other corpus, encoder or kind has."""
    parts = [dataset.name, dataset.checksums["corpus.jsonl"][:12]]
    if encoder is None:
        parts.append("bm25")
    else:
        parts += [Path(encoder.name).name, encoder.kind, encoder.fingerprint[:12], str(kind)]
    return re.sub(r"[^\w.-]", "_", "-".join(parts)) + ".index"


@contextmanager
def _kept(cache: Path) -> Iterator[Path]:
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the cache folder {cache}: {error.strerror}") from None
    yield cache


def _check_finite(run: Run, name: str) -> None:
    for query, ranking in run.items():
        if not all(map(math.isfinite, ranking.values())):
            raise InputError(f"{name} gave a score that is not a number for query {query!r}")
