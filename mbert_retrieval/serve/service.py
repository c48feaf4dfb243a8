"""What the service does, whatever the protocol: plain values in, JSON values out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, NotFoundError, TimeLimitError
from ..indexes import IndexFolder
from ..indexes.deadline import time_limit
from ..indexes.filtering import Filter, narrowed
from ..indexes.trust import searched_as_it_is
from ..search.options import check_query
from ..search.result import SearchResult
from ..search.run import legs_of
from ..sync.apply import sync_with_sources
from ..sync.passages import Changes
from ..types import MODES, Mode, Passage
from .batching import Batcher
from .examples import SAMPLED, example_queries
from .following import SourceFollower
from .limits import MAX_EXPLAINED, MAX_K, MAX_QUERY_LENGTH, Limits, Overloaded
from .live import LiveIndex
from .metrics import Metrics
from .writing import WriteQueue

JSON = dict[str, Any]
WARM_UP_QUERY = "warm up"
FACETS = ("language", "kind")  # fields of the metadata
MAX_FACET_VALUES = 40


@dataclass(frozen=True)
class SearchRequest:
    """How to search, and what to return with each hit. Requests that are equal run together.

    Attributes:
        k: Number of hits.
        mode: See `Index.search`.
        where: See `indexes.filtering.narrowed`, as for the next two.
        languages: Only passages in one of these languages.
        paths: Only files or folders with one of these names or patterns.
        marks: Return the spans of each text that answer.
        explain: Return all of `search.explain.Explanation`.
    """

    k: int = 10
    mode: Mode = "hybrid"
    where: str | None = None
    languages: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    marks: bool = False
    explain: bool = False

    @property
    def filter(self) -> Filter | None:
        """The conditions together. Raises InputError for one that cannot be parsed."""
        return narrowed(self.where, None, self.languages, self.paths)


class Service:
    """An open index with its query encoders loaded.

    Between `start` and `close`, any number of calls may run at once in one event loop.
    """

    def __init__(
        self,
        path: Path,
        limits: Limits | None = None,
        writable: bool = True,
        encoder: str | None = None,
        follow_sources: bool = True,
    ) -> None:
        """Open the index and load its query encoders.

        Args:
            path: Folder of the index.
            limits: Default: those of `Limits()`.
            writable: Whether clients may change the index; one that is not trusted is not changed.
            encoder: Name of the encoder to load in place of the one that the index records.
            follow_sources: Whether to read changed source files before a search is answered.

        Raises:
            InputError: As `Index.open`, or an encoder cannot be loaded.
        """
        self.limits = limits or Limits()
        self.metrics = Metrics()
        self._live = LiveIndex(path, self._record_commit, encoder)
        self._may_write = writable
        self._batcher: Batcher[SearchRequest, JSON] = Batcher(
            self._search_batch, self.limits.concurrency, self.metrics.batch.observe
        )
        self._writes = WriteQueue(path, self._live.refresh, encoder)
        self._follower = SourceFollower(
            self._live, self._writes, self.limits.refresh_seconds, follow_sources
        )
        self._live.index.search_many([WARM_UP_QUERY], 1)  # loads the query encoders
        self._closing = False
        self.metrics.waiting.set_function(lambda: len(self._batcher))

    @property
    def writable(self) -> bool:
        """Whether the index may be changed through this service."""
        return self._may_write and self._live.folder.is_trusted

    @property
    def caution(self) -> str:
        """What the user should know where the index is not trusted; else empty."""
        folder = self._live.folder
        if folder.is_trusted:
            return ""
        return searched_as_it_is(folder.path, folder.manifest.index_id)

    async def start(self) -> None:
        """Follow newer commits from now on."""
        self._live.watch()

    async def close(self) -> None:
        """Answer the searches that have come, and interrupt the change that runs."""
        self._closing = True
        await self._batcher.close()
        await self._writes.close()
        await self._follower.close()
        self._live.close()

    def health(self) -> JSON:
        """Return the state; "trouble" says why newer commits cannot be read, where they cannot."""
        status: JSON = {"status": "ok", "commit": self._live.commit}
        trouble = self._live.trouble
        return status | ({"trouble": trouble} if trouble else {})

    def ready(self) -> JSON:
        """Return the state. Raises Overloaded where searches should go elsewhere."""
        if self._closing:
            raise Overloaded("the service is stopping")
        if trouble := self._live.trouble:
            raise Overloaded(f"the newest commit cannot be read: {trouble}")
        return {"status": "ready", "commit": self._live.commit}

    async def info(self) -> JSON:
        """Return what is served and how it can be searched."""
        age = await self._follower.refresh()
        return await asyncio.to_thread(self._info, self._live.folder) | age

    def _info(self, folder: IndexFolder) -> JSON:
        return {
            "name": folder.path.resolve().name,
            "passages": len(folder),
            "commit": folder.generation,
            "parts": {
                **{name: f"{leg.encoder.name} ({leg.engine})" for name, leg in folder.legs.items()},
                **({"lexical": "BM25"} if folder.lexical else {}),
            },
            "modes": _distinct_modes(folder),
            "examples": example_queries(folder.sample(SAMPLED)),
            "facets": _facets(folder),
            "writable": self.writable,
            "limits": {"k": MAX_K, "query": MAX_QUERY_LENGTH, "body": self.limits.body_bytes},
        }

    async def search(self, query: str, request: SearchRequest) -> JSON:
        """Return {"hits": [...], "seconds", "commit"} and how old the answer is.

        Raises InputError, TimeLimitError, Overloaded.
        """
        started = time.perf_counter()
        check_query(query)
        if (request.marks or request.explain) and request.k > MAX_EXPLAINED:
            raise InputError(f"with marks or explain, k may be {MAX_EXPLAINED} at most")
        age = await self._follower.refresh()
        answer = await self._in_time(self._batcher.submit(request, query))
        return answer | {"seconds": round(time.perf_counter() - started, 6)} | age

    def _search_batch(self, request: SearchRequest, queries: list[str]) -> list[JSON]:
        index = self._live.index  # one commit for the entire batch
        with self._limited():
            return [
                {"hits": _hits_json(result, request), "commit": result.folder.generation}
                for result in index.search_many(queries, request.k, request.mode, request.filter)
            ]

    async def explain(self, query: str, id: str, request: SearchRequest) -> JSON:
        """Return why a passage has its score, with all token scores of late interaction.

        Raises InputError, NotFoundError, TimeLimitError, Overloaded.
        """
        check_query(query)
        await self._follower.refresh()

        def search_and_explain() -> JSON:
            index = self._live.index
            with self._limited():
                passage = index.get(id)
                result = index.search(query, request.k, request.mode, request.filter)
                (explanation,) = result.explain([id])
            return {"passage": asdict(passage), "matches": explanation.to_json(table=True)}

        return await self._in_time(asyncio.to_thread(search_and_explain))

    async def spelling(self, query: str) -> JSON:
        """Return the words that no passage has, and words that resemble them. Raises InputError."""
        check_query(query)
        return {"words": await asyncio.to_thread(self._live.folder.spelling, query)}

    async def passage(self, id: str) -> JSON:
        """Return a stored passage. Raises NotFoundError."""
        await self._follower.refresh()
        return asdict(await asyncio.to_thread(self._live.index.get, id))

    async def document(self, path: str) -> JSON:
        """Return all passages of a file, in the file's order. Raises NotFoundError."""
        await self._follower.refresh()
        passages = await asyncio.to_thread(self._live.folder.passages_at, path)
        if not passages:
            raise NotFoundError(f"no passage has the path {path!r}")
        return {"path": path, "passages": [asdict(passage) for passage in passages]}

    async def add(self, passages: Sequence[Passage]) -> JSON:
        """Add passages and replace those with the same ids. Raises InputError, Overloaded."""
        self._check_writable()
        return self._record_changes(await self._writes.add(passages))

    async def delete(self, ids: Sequence[str]) -> JSON:
        """Delete all of the passages, or none where one does not exist.

        Raises NotFoundError, Overloaded.
        """
        self._check_writable()
        return self._record_changes(Changes(deleted=await self._writes.delete(ids)))

    async def update(self) -> JSON:
        """Bring the index in sync with its sources. Raises InputError, Overloaded."""
        self._check_writable()
        return self._record_changes(
            await self._writes.run(
                lambda index, progress: sync_with_sources(index.folder, index.encoders, progress)
            )
        )

    def _record_changes(self, changes: Changes) -> JSON:
        counts = asdict(changes)
        for how in ("added", "updated", "deleted"):
            self.metrics.changed.labels(how).inc(counts[how])
        return counts | {"commit": self._live.commit}

    def _check_writable(self) -> None:
        if not self._may_write:
            raise InputError("this service only reads: start it without --read-only")
        self._live.folder.check_trusted("it is not changed")

    @contextmanager
    def _limited(self) -> Iterator[None]:
        """Stop the search in a `with` block when its time is over. Raises TimeLimitError."""
        seconds = self.limits.search_seconds
        try:
            with time_limit(seconds):
                yield
        except TimeLimitError:
            raise TimeLimitError(
                f"the search took longer than {seconds:g} s: use a simpler filter"
            ) from None

    async def _in_time(self, answer: Awaitable[JSON]) -> JSON:
        seconds = 2 * self.limits.search_seconds
        try:
            return await asyncio.wait_for(answer, seconds)
        except TimeoutError:
            raise Overloaded(f"no answer within {seconds:g} s: try again") from None

    def _record_commit(self, folder: IndexFolder) -> None:
        self.metrics.passages.set(len(folder))
        self.metrics.commit.set(folder.generation)
        self.metrics.opened.inc()


def _hits_json(result: SearchResult, request: SearchRequest) -> list[JSON]:
    hits = [hit.to_json() for hit in result]
    if request.explain:
        for hit, explanation in zip(hits, result.explain(), strict=True):
            hit["matches"] = explanation.to_json()
    elif request.marks:
        for hit, marks in zip(hits, result.marks(), strict=True):
            hit["marks"] = marks
    return hits


def _distinct_modes(folder: IndexFolder) -> list[str]:
    """Return the modes of which no two answer alike: with one leg any mode is that leg, and with
    one kind of vectors "vector" is that kind."""
    legs = legs_of(folder)
    combined = [
        *(["hybrid"] if len(legs) > 1 else []),
        *(["vector"] if len(folder.legs) > 1 else []),
    ]
    return [mode for mode in MODES if mode in (*combined, *legs)]


def _facets(folder: IndexFolder) -> dict[str, dict[str, int]]:
    """Return field -> its most frequent values, each with the number of its passages.

    Fields that no passage has are left out.
    """
    values = {name: folder.values_of(name, MAX_FACET_VALUES) for name in FACETS}
    return {name: counts for name, counts in values.items() if counts}
