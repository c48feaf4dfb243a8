"""What the service does, for whatever protocol: each method takes and gives plain values."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, NotFoundError
from ..index import Index
from ..indexes.filtering import Filter, narrowed
from ..search.options import check_query
from ..search.result import SearchResult
from ..sync.apply import sync_with_sources
from ..sync.passages import Changes
from ..types import MODES, Mode, Passage
from .batching import Batcher
from .facets import facets
from .limits import LARGEST_K, LONGEST_QUERY, MOST_EXPLAINED, Limits, Overloaded
from .live import LiveIndex
from .metrics import Metrics
from .writing import Writes

JSON = dict[str, Any]
WARM_UP = "warm up"


@dataclass(frozen=True)
class Asked:
    """How to search, and what to say of each hit beside it.

    where, languages, paths: as `indexes.filtering.narrowed` takes them. marks: the pieces of its
    text that answer; explain: all that `explain.Explanation` has.
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
        """Raises InputError."""
        return narrowed(self.where, None, self.languages, self.paths)


class Service:
    """An index, open, with its encoders of queries loaded. Between `start` and `close` its methods
    may be called from one event loop, as many at once as come."""

    def __init__(self, path: Path, limits: Limits | None = None, writable: bool = True) -> None:
        """Raises InputError as `Index.open`, and when an encoder cannot be loaded."""
        self.limits, self.writable = limits or Limits(), writable
        self.metrics = Metrics()
        self._live = LiveIndex(path, self._opened)
        self._batcher: Batcher[Asked, JSON] = Batcher(
            self._answer, self.limits.concurrency, self.metrics.batch.observe
        )
        self._writes = Writes(path, self._live.refresh)
        self._live.view.search_many([WARM_UP], 1)  # loads the encoders of queries
        self.metrics.waiting.set_function(lambda: len(self._batcher))

    async def start(self) -> None:
        """See newer commits from now on."""
        self._live.watch()

    async def close(self) -> None:
        """Searches that have come are answered, the change that runs keeps what it has done."""
        await self._batcher.close()
        await self._writes.close()
        self._live.close()

    def health(self) -> JSON:
        """JSON; "trouble" says why newer commits are not seen, where they are not."""
        view, trouble = self._live.view, self._live.trouble
        status = {"status": "ok", "commit": view.folder.generation}
        return status | ({"trouble": trouble} if trouble else {})

    async def info(self) -> JSON:
        """What is served."""
        view = self._live.view
        return await asyncio.to_thread(self._info, view)

    def _info(self, view: Index) -> JSON:
        folder = view.folder
        modes: list[str] = [mode for mode in MODES if mode in (*view.legs, "hybrid")]
        if folder.legs:
            modes.insert(1, "vector")
        return {
            "name": folder.path.resolve().name,
            "passages": len(folder),
            "commit": folder.generation,
            "parts": {
                **{name: f"{leg.encoder.name} ({leg.engine})" for name, leg in folder.legs.items()},
                **({"lexical": "BM25"} if folder.lexical else {}),
            },
            "modes": modes,
            "facets": facets(view),
            "writable": self.writable,
            "limits": {"k": LARGEST_K, "query": LONGEST_QUERY, "body": self.limits.body},
        }

    async def search(self, query: str, asked: Asked) -> JSON:
        """{"hits": [...], "seconds", "commit"}. Raises InputError, Overloaded."""
        began = time.perf_counter()
        check_query(query)
        if (asked.marks or asked.explain) and asked.k > MOST_EXPLAINED:
            raise InputError(f"with marks or explain, k may be {MOST_EXPLAINED} at most")
        answer = await self._in_time(self._batcher.ask(asked, query))
        return answer | {"seconds": round(time.perf_counter() - began, 6)}

    def _answer(self, asked: Asked, queries: list[str]) -> list[JSON]:
        view = self._live.view  # one commit for all that follows
        return [
            {"hits": self._hits(result, asked), "commit": view.folder.generation}
            for result in view.search_many(queries, asked.k, asked.mode, asked.filter)
        ]

    @staticmethod
    def _hits(result: SearchResult, asked: Asked) -> list[JSON]:
        hits = [hit.to_json() for hit in result]
        if asked.explain:
            for hit, explanation in zip(hits, result.explain(), strict=True):
                hit["matches"] = explanation.to_json()
        elif asked.marks:
            for hit, marks in zip(hits, result.marks(), strict=True):
                hit["marks"] = marks
        return hits

    async def explain(self, query: str, id: str, asked: Asked) -> JSON:
        """Why a passage has the score that it has, with all scores of late interaction, token by
        token. Raises InputError, NotFoundError."""
        check_query(query)

        def reason() -> JSON:
            view = self._live.view
            passage = view.get(id)
            result = view.search(query, asked.k, asked.mode, asked.filter)
            (why,) = result.explain([id])
            return {"passage": _shown(passage), "matches": why.to_json(table=True)}

        return await self._in_time(asyncio.to_thread(reason))

    async def passage(self, id: str) -> JSON:
        """Raises NotFoundError."""
        folder = self._live.view.folder
        (found,) = await asyncio.to_thread(folder.passages, [id])
        return _shown(found)

    async def document(self, path: str) -> JSON:
        """All passages of a file, in the order in which they stand there. Raises NotFoundError."""
        folder = self._live.view.folder
        passages = await asyncio.to_thread(folder.passages_at, path)
        if not passages:
            raise NotFoundError(f"no passage has the path {path!r}")
        return {"path": path, "passages": [_shown(passage) for passage in passages]}

    async def add(self, passages: Sequence[Passage]) -> JSON:
        """Add passages, replace those of the same ids. Raises InputError."""
        self._check_writable()
        return self._changed(await self._writes.add(passages))

    async def delete(self, ids: Sequence[str]) -> JSON:
        """Delete all of them, or none when one is not there. Raises NotFoundError."""
        self._check_writable()
        return self._changed(Changes(deleted=await self._writes.delete(ids)))

    async def update(self) -> JSON:
        """Bring the index up to date with its sources. Raises InputError."""
        self._check_writable()
        return self._changed(
            await self._writes.change(
                lambda index, progress: sync_with_sources(index.folder, index.encoders, progress)
            )
        )

    def _changed(self, changes: Changes) -> JSON:
        counts = asdict(changes)
        for how in ("added", "updated", "deleted"):
            self.metrics.changed.labels(how).inc(counts[how])
        return counts | {"commit": self._live.view.folder.generation}

    def _check_writable(self) -> None:
        if not self.writable:
            raise InputError("this service only reads: start it without --read-only")

    async def _in_time(self, answer: Any) -> JSON:
        try:
            return await asyncio.wait_for(answer, self.limits.seconds)
        except TimeoutError:
            raise Overloaded(f"no answer within {self.limits.seconds:g} s: try again") from None

    def _opened(self, view: Index) -> None:
        self.metrics.passages.set(len(view))
        self.metrics.commit.set(view.folder.generation)
        self.metrics.opened.inc()


def _shown(passage: Passage) -> JSON:
    return asdict(passage)
