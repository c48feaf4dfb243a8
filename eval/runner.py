"""Evaluation of one system on one data set: build the index, search the judged queries, measure.

The index is built once per encoder and engine, and can be searched in several modes:

    with prepare(dataset, encoder, engine="flat", cache=Path(".mbert")) as system:
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
from ..files import sha256_of_file
from ..types import MODES, Mode
from .datasets import Dataset
from .measures import Measure, check_measures, cutoff_of, score
from .peers import check_encoder
from .results import EncoderRecord, Result, environment, now, peak_memory_bytes
from .runs import Run

if TYPE_CHECKING:
    from ..index import Index
    from ..protocols import DocumentEncoder

QUERY_BATCH = 32
LATENCY_QUERIES = 50


@dataclass(frozen=True)
class System:
    """An index of a data set's documents, ready to be searched and measured.

    Args:
        dataset: The data set.
        index: The index of its documents.
        encoder: The encoder, None for BM25 alone.
        engine: The engine of its vectors, None for BM25 alone.
        seconds: Time to build the index, None if it existed before.
        reused: Number of documents that were indexed before.
        size: Sizes and settings of the index, for `Result.index`.
        legs: Encoder and engine of each leg, for an index with several.
    """

    dataset: Dataset
    index: Index
    encoder: EncoderRecord | None
    engine: str | None
    seconds: float | None
    reused: int
    size: dict[str, Any] = field(default_factory=dict)
    legs: Sequence[tuple[EncoderRecord, str]] = ()

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
        """Search all judged queries and measure the results.

        Args:
            mode: One of `types.MODES`: which legs are searched.
            measures: The measures, from `parse_measures`.
            k: Number of results per query.
            drop_own_id: Remove a document with the id of the query from its results: BEIR's rule
                for collections whose queries are documents. In other collections equal ids mean
                nothing.
            name: Name of the system in tables; by default made of encoder, engine and mode.
            latency_queries: Number of queries that are searched once more, one at a time, to
                measure the latency.
            suite: For `Result.suite`.
            progress: Called with the number of queries searched so far.

        Returns:
            The result and the run.

        Raises:
            InputError: The mode is unknown or needs an encoder, or `k` is too small for a measure.
            TypeError: The measures do not come from `parse_measures`.
        """
        checked_mode = check_mode(mode, self.encoder)
        check_depth(k, measures)
        started = time.perf_counter()
        run = self._search(checked_mode, k, drop_own_id, progress)
        seconds = time.perf_counter() - started
        encoder, engine, default_name = self._describe(checked_mode)
        name = name or default_name
        _check_finite(run, name)
        search = {"mode": mode, "k": k, "drop_own_id": drop_own_id, "seconds": seconds}
        if latency_queries:
            search["latency_ms"] = self._latency(checked_mode, k, latency_queries)
        result = _result(
            self.dataset,
            name,
            run,
            measures,
            encoder=None if encoder is None else asdict(encoder),
            index={
                "kind": engine,
                "seconds": self.seconds,
                "reused": self.reused,
                **self.size,
            },
            search=search,
            suite=suite,
        )
        return result, run

    def _describe(self, mode: Mode) -> tuple[EncoderRecord | None, str | None, str]:
        """Return encoder and engine that a mode uses, and a name for the system."""
        for encoder, engine in self.legs:
            if encoder.kind == mode:
                return encoder, engine, system_name(encoder, engine, "vector")
        if len(self.legs) < 2 or mode == "lexical":
            return self.encoder, self.engine, system_name(self.encoder, self.engine, mode)
        names = [system_name(encoder, engine, "vector") for encoder, engine in self.legs]
        names += ["BM25"] if mode == "hybrid" else []
        return self.encoder, self.engine, " + ".join(names)

    def _latency(self, mode: Mode, k: int, queries: int) -> dict[str, Any]:
        """Measure milliseconds of the first judged queries, one at a time, encoding included."""
        texts = list(self.dataset.queries.values())[:queries]
        times = []
        for text in texts:
            started = time.perf_counter()
            self.index.search_many([text], k, mode)
            times.append(1000 * (time.perf_counter() - started))
        median, p95 = np.percentile(times, (50, 95)).tolist()
        return {"median": round(median, 3), "p95": round(p95, 3), "queries": len(texts)}

    def _search(
        self,
        mode: Mode,
        k: int,
        drop_own_id: bool,
        progress: Callable[[int], None] | None,
    ) -> Run:
        run: Run = {}
        queries = list(self.dataset.queries.items())
        for start in range(0, len(queries), QUERY_BATCH):
            batch = queries[start : start + QUERY_BATCH]
            depth = k + 1 if drop_own_id else k
            results = self.index.search_many([text for _, text in batch], depth, mode)
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
    engine: str | None = None,
    cache: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Iterator[System]:
    """Index the documents of a data set, for BM25 and, with an encoder, for its vectors.

    Args:
        dataset: The data set.
        encoder: The encoder; None for BM25 alone.
        engine: "plaid", "flat" or "faiss"; by default faiss for a dense encoder and plaid for a
            late-interaction encoder.
        cache: Folder of indexes, one per corpus, encoder and engine. An index that exists is used,
            and an interrupted one is completed. By default a temporary folder.
        progress: Called with the number of documents indexed so far.

    Yields:
        The system, while the `with` block runs.

    Raises:
        InputError: An engine is given without an encoder, or the index cannot be written.
        TypeError: `encoder` is not an encoder, but the name of one, say.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from mbert_retrieval.eval.datasets import read_beir
        >>> from mbert_retrieval.eval.measures import parse_measures
        >>> folder = TemporaryDirectory()
        >>> root = Path(folder.name)
        >>> _ = (root / "corpus.jsonl").write_text('{"_id": "d1", "text": "a swept wing"}')
        >>> _ = (root / "queries.jsonl").write_text('{"_id": "q1", "text": "wing"}')
        >>> (root / "qrels").mkdir()
        >>> _ = (root / "qrels" / "test.tsv").write_text("q1\\td1\\t1")
        >>> with prepare(read_beir(root), None) as system:
        ...     result, run = system.evaluate("lexical", parse_measures("nDCG@10"))
        >>> result.system, result.measures, list(run["q1"])
        ('BM25', {'nDCG@10': 1.0}, ['d1'])
        >>> folder.cleanup()
    """
    from ..index import Index

    check_encoder(encoder)
    if encoder is None and engine is not None:
        raise InputError(f"index kind {engine} needs an encoder: name one, or no kind")
    if encoder is not None and engine is None:
        engine = default_engine(encoder)
    with TemporaryDirectory() if cache is None else _cache_folder(cache) as root:
        folder = Path(root) / _index_name(dataset, encoder, engine)
        started = time.perf_counter()
        index = Index.create(folder, encoder, engine=engine, lexical=True)
        changes = index.sync(dataset.passages(), progress)
        seconds = time.perf_counter() - started
        record = None if encoder is None else EncoderRecord.of(encoder)
        yield System(dataset, index, record, engine, seconds, changes.unchanged, _size(index))


def open_index(dataset: Dataset, path: str | Path) -> System:
    """Open an existing index of exactly the data set's documents.

    Args:
        dataset: The data set.
        path: The folder of the index.

    Returns:
        The system.

    Raises:
        InputError: There is no index, or it contains other documents.
    """
    from ..index import Index

    index = Index.open(path)
    indexed = set(index.folder.content_hashes())
    documents = {passage.id for passage in dataset.passages()}
    if indexed != documents:
        raise InputError(
            f"the index {path} does not contain the documents of {dataset.name}: "
            f"{len(documents - indexed)} are missing, {len(indexed - documents)} are others"
        )
    legs = [(EncoderRecord.of(leg.encoder), leg.engine) for leg in index.folder.legs.values()]
    encoder = EncoderRecord.join([record for record, _ in legs])
    engine = " + ".join(engine for _, engine in legs) or None
    return System(dataset, index, encoder, engine, None, len(indexed), _size(index), legs)


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

    Args:
        dataset: The data set whose qrels judge the run.
        path: The run file, for the record.
        run: Its rankings.
        measures: The measures, from `parse_measures`.
        name: Name of the system in tables; by default the name of the file.
        suite: For `Result.suite`.

    Returns:
        The result.

    Raises:
        InputError: None of the run's queries is judged.
    """
    if not run.keys() & dataset.qrels.keys():
        raise InputError(
            f"none of the queries in {path} is judged in {dataset.name} {dataset.split}: "
            "is it the right split?"
        )
    search = {"run_file": path.name, "sha256": sha256_of_file(path)}
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


def default_engine(encoder: DocumentEncoder) -> str:
    """Return the engine that an encoder's vectors are searched with by default."""
    from ..indexes.manifest import DEFAULT_ENGINES

    return DEFAULT_ENGINES[encoder.kind]


def check_mode(mode: str, encoder: Any) -> Mode:
    """Return the mode; raise InputError if it is unknown, or needs an encoder and there is none."""
    if mode not in MODES:
        raise InputError(f"unknown mode {mode!r}: choose one of {', '.join(MODES)}")
    if encoder is None and mode != "lexical":
        raise InputError(f"mode {mode} needs an encoder: name one, or search in mode lexical")
    return cast("Mode", mode)


def check_depth(k: int, measures: Sequence[Measure]) -> None:
    """Raise InputError if `k` results are too few for the cutoff of a measure."""
    check_measures(measures)
    if k < 1:
        raise InputError(f"k must be at least 1, not {k}")
    for measure in measures:
        cutoff = cutoff_of(measure)
        if cutoff is not None and cutoff > k:
            raise InputError(f"{measure} looks at {cutoff} results: set k to at least {cutoff}")


def system_name(
    encoder: EncoderRecord | DocumentEncoder | None, engine: str | None, mode: str
) -> str:
    """Name a system: "BM25", "nano late (flat)", "nano dense (faiss) + BM25"."""
    if encoder is None or mode == "lexical":
        return "BM25"
    vectors = f"{Path(encoder.name).name} {encoder.kind} ({engine})"
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
    scores = score(measures, dataset.qrels, run)
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


def _size(index: Index) -> dict[str, Any]:
    """Return sizes and settings of an index, for `Result.index`."""
    info = index.folder.info()
    legs = info["legs"].values()
    return {
        "bytes": info["bytes"],
        "vectors": sum(leg["vectors"] for leg in legs),
        "bytes_per_vector": {name: leg["bytes_per_vector"] for name, leg in info["legs"].items()},
        "settings": {name: leg["settings"] for name, leg in info["legs"].items()},
    }


def _index_name(dataset: Dataset, encoder: DocumentEncoder | None, engine: str | None) -> str:
    """Return a folder name that is unique to corpus, encoder and engine."""
    parts = [dataset.name, dataset.checksums["corpus.jsonl"][:12]]
    if encoder is None:
        parts.append("bm25")
    else:
        parts += [Path(encoder.name).name, encoder.kind, encoder.fingerprint[:12], str(engine)]
    return re.sub(r"[^\w.-]", "_", "-".join(parts)) + ".index"


@contextmanager
def _cache_folder(cache: Path) -> Iterator[Path]:
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot create the cache folder {cache}: {error.strerror}") from None
    yield cache


def _check_finite(run: Run, name: str) -> None:
    for query, ranking in run.items():
        if not all(map(math.isfinite, ranking.values())):
            raise InputError(f"{name} gave a score that is not a number for query {query!r}")
