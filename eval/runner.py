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
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..errors import InputError
from .datasets import Dataset
from .files import sha256_of
from .measures import Measure, cutoff_of, score
from .results import Result, environment, now, peak_memory_bytes
from .runs import Run

if TYPE_CHECKING:
    from ..index import Index
    from ..protocols import DocumentEncoder
    from ..types import Mode

MODES = ("vector", "lexical", "hybrid", "late", "dense")  # the last two in an index with both
QUERY_BATCH = 32
LATENCY_QUERIES = 50
SIDES = ("query", "document")


@dataclass(frozen=True)
class EncoderFacts:
    """What a record says of an encoder. Lengths: tokens read; precision: what its network computed
    in (documents that were reused may have another). None where the encoder tells none."""

    name: str
    fingerprint: str
    kind: str
    dimension: int | None
    query_length: int | None = None
    document_length: int | None = None
    precision: str | None = None

    @classmethod
    def of(cls, encoder: Any) -> EncoderFacts:
        """Of an encoder, or of the identity that an index keeps of one."""
        query, document = (getattr(getattr(encoder, s, None), "limit", None) for s in SIDES)
        facts = encoder.name, encoder.fingerprint, encoder.kind, encoder.dimension
        return cls(*facts, query, document, getattr(encoder, "precision", None))

    @classmethod
    def joined(cls, several: Sequence[EncoderFacts]) -> EncoderFacts | None:
        """Of the encoders of one index."""
        if len(several) < 2:
            return several[0] if several else None
        return cls(
            name=" + ".join(each.name for each in several),
            fingerprint=" + ".join(each.fingerprint for each in several),
            kind=" + ".join(each.kind for each in several),
            dimension=None,
        )


@dataclass(frozen=True)
class System:
    """An index of a dataset's corpus, ready to be searched.

    encoder, kind: None when there is BM25 alone.
    seconds: what building took, None where it was not built here; reused: how many documents were
        there before; facts: more for the record (bytes, vectors, settings).
    legs: each encoder and kind, of an index with several.
    """

    dataset: Dataset
    index: Index
    encoder: EncoderFacts | None
    kind: str | None
    seconds: float | None
    reused: int
    facts: dict[str, Any] = field(default_factory=dict)
    legs: Sequence[tuple[EncoderFacts, str]] = ()

    def evaluate(
        self,
        mode: str,
        measures: Sequence[Measure],
        *,
        k: int = 100,
        drop_own_id: bool = False,
        name: str | None = None,
        latency_queries: int = 0,
        suite: dict[str, Any] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> tuple[Result, Run]:
        """Search all judged queries for `k` documents each and measure.

        drop_own_id: leave out a document with the query's own id (BEIR's rule, for collections
            whose queries are documents). Only then: in others equal ids mean nothing.
        name: how tables call the system; made from encoder, kind and mode when not given.
        latency_queries: time so many of the queries once more, one at a time.
        suite: for `Result.suite`.
        progress: called with the number of queries done so far.

        Raises InputError when the mode needs an encoder and there is none, or `k` is too small for
        a measure.
        """
        check_mode(mode, self.encoder)
        check_depth(k, measures)
        started = time.perf_counter()
        run = self._search(mode, k, drop_own_id, progress)
        seconds = time.perf_counter() - started
        encoder, kind, own_name = self._answering(mode)
        name = name or own_name
        _check_finite(run, name)
        search = {"mode": mode, "k": k, "drop_own_id": drop_own_id, "seconds": seconds}
        if latency_queries:
            search["latency_ms"] = self._latency(mode, k, latency_queries)
        result = _result(
            self.dataset,
            name,
            run,
            measures,
            encoder=None if encoder is None else asdict(encoder),
            index={
                "kind": kind,
                "seconds": self.seconds,
                "reused": self.reused,
                **self.facts,
            },
            search=search,
            suite=suite,
        )
        return result, run

    def _answering(self, mode: str) -> tuple[EncoderFacts | None, str | None, str]:
        """The encoder and index kind that answer in a mode, and a name for the whole."""
        for encoder, kind in self.legs:
            if encoder.kind == mode:
                return encoder, kind, system_name(encoder, kind, "vector")
        if len(self.legs) < 2 or mode == "lexical":
            return self.encoder, self.kind, system_name(self.encoder, self.kind, mode)
        names = [system_name(encoder, kind, "vector") for encoder, kind in self.legs]
        names += ["BM25"] if mode == "hybrid" else []
        return self.encoder, self.kind, " + ".join(names)

    def _latency(self, mode: str, k: int, queries: int) -> dict[str, Any]:
        """Milliseconds of single queries, encoding included: the first judged ones."""
        texts = list(self.dataset.queries.values())[:queries]
        times = []
        for text in texts:
            started = time.perf_counter()
            self.index.search_many([text], k, cast("Mode", mode))
            times.append(1000 * (time.perf_counter() - started))
        median, p95 = np.percentile(times, (50, 95)).tolist()
        return {"median": round(median, 3), "p95": round(p95, 3), "queries": len(texts)}

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
            results = self.index.search_many([text for _, text in batch], depth, cast("Mode", mode))
            for (query, _), result in zip(batch, results, strict=True):
                ranking = result.ranking
                if drop_own_id:
                    ranking = [pair for pair in ranking if pair[0] != query]
                run[query] = dict(ranking[:k])
            if progress is not None:
                progress(len(run))
        return run


@contextmanager
def prepare(
    dataset: Dataset,
    encoder: DocumentEncoder | None,
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
    from ..indexes.manifest import DEFAULT_ENGINES

    if encoder is None and kind is not None:
        raise InputError(f"index kind {kind} needs an encoder: name one, or no kind")
    if encoder is not None and kind is None:
        kind = DEFAULT_ENGINES[encoder.kind]
    with TemporaryDirectory() if cache is None else _kept(cache) as root:
        folder = Path(root) / _index_name(dataset, encoder, kind)
        started = time.perf_counter()
        index = Index.create(folder, encoder, kind=kind, lexical=True)
        changes = index.sync(dataset.passages(), progress)
        seconds = time.perf_counter() - started
        facts = None if encoder is None else EncoderFacts.of(encoder)
        yield System(dataset, index, facts, kind, seconds, changes.unchanged, _facts(index))


def open_index(dataset: Dataset, path: str | Path) -> System:
    """An index that is there already, of exactly the data set's documents.

    Raises InputError when it holds other documents, and what `Index.open` raises.
    """
    from ..index import Index

    index = Index.open(path)
    held = set(index.folder.content_hashes())
    wanted = {passage.id for passage in dataset.passages()}
    if held != wanted:
        raise InputError(
            f"the index {path} does not hold the documents of {dataset.name}: "
            f"{len(wanted - held)} are missing and {len(held - wanted)} are others"
        )
    legs = list(index.folder.legs.values())
    parts = [(EncoderFacts.of(leg.encoder), leg.engine) for leg in legs]
    encoder = EncoderFacts.joined([facts for facts, _ in parts])
    kind = " + ".join(leg.engine for leg in legs) or None
    return System(dataset, index, encoder, kind, None, len(held), _facts(index), parts)


def score_run(
    dataset: Dataset,
    path: Path,
    run: Run,
    measures: Sequence[Measure],
    *,
    name: str | None = None,
    suite: dict[str, Any] | None = None,
) -> Result:
    """Measure a run that was read from a file.

    Raises InputError when none of its queries is judged.
    """
    if not run.keys() & dataset.qrels.keys():
        raise InputError(
            f"none of the queries in {path} is judged in {dataset.name} {dataset.split}: "
            "is it the right split?"
        )
    search = {"run_file": path.name, "sha256": sha256_of(path)}
    return _result(
        dataset,
        name or path.stem,
        run,
        measures,
        encoder=None,
        index=None,
        search=search,
        suite=suite,
    )


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


def system_name(encoder: EncoderFacts | DocumentEncoder | None, kind: str | None, mode: str) -> str:
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
    suite: dict[str, Any] | None = None,
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
            "source": dataset.source,
        },
        encoder=encoder,
        index=index,
        search={**search, "queries_without_results": without},
        measures=scores.mean,
        per_query=scores.per_query,
        environment=environment(),
        peak_memory_bytes=peak_memory_bytes(),
        created=now(),
        suite=suite,
    )


def _facts(index: Index) -> dict[str, Any]:
    """What an index holds, for the record."""
    info = index.folder.info()
    legs = info["legs"].values()
    return {
        "bytes": info["bytes"],
        "vectors": sum(leg["vectors"] for leg in legs),
        "bytes_per_vector": {name: leg["bytes_per_vector"] for name, leg in info["legs"].items()},
        "settings": {name: leg["settings"] for name, leg in info["legs"].items()},
    }


def _index_name(dataset: Dataset, encoder: DocumentEncoder | None, kind: str | None) -> str:
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
