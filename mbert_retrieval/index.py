"""`Index`: an index folder together with its encoders. Texts in, hits out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from .errors import InputError
from .indexes.engine import NO_TUNING
from .indexes.filtering import Filter
from .indexes.folder import IndexFolder
from .indexes.manifest import FILE as MANIFEST_FILE
from .indexes.manifest import Leg
from .packed import Packed
from .protocols import DocumentEncoder
from .search.encoders import IndexEncoders
from .search.legs import Encoders, Kinds, encoders_of, legs_of, listed, shown
from .search.ranking import definitions_first, names_in
from .search.result import LEG_DEPTH, SearchResult
from .sync.passages import Changes, different, reuse, store
from .types import MODES, Hit, Passage, Ranking

Progress = Callable[[int], None]


class Index:
    """Made by `build`, `create` or `open`.

    folder: the arrays and passages on disk, as they were when it was opened or last changed here.
    encoders: those that were given; the others are loaded when first needed.
    """

    def __init__(self, folder: IndexFolder, encoders: IndexEncoders | None = None) -> None:
        self.folder = folder
        self.encoders = encoders or IndexEncoders(folder)

    @classmethod
    def build(
        cls,
        path: str | Path,
        passages: Iterable[Passage],
        encoder: Encoders,
        *,
        kind: Kinds = None,
        lexical: bool = True,
        engine: Mapping[str, Any] | None = None,
        progress: Progress | None = None,
    ) -> Index:
        """Make the index at `path` hold exactly `passages`; see `create` and `sync`.

        An index that is there already, made by the same encoders, is brought up to date: only what
        is new or changed is encoded, so an interrupted build goes on where it stopped.
        """
        passages = iter(passages)
        head = list(islice(passages, 1))  # a source that is broken at once leaves no folder behind
        index = cls.create(path, encoder, kind=kind, lexical=lexical, engine=engine)
        index.sync(chain(head, passages), progress)
        return index

    @classmethod
    def create(
        cls,
        path: str | Path,
        encoder: Encoders,
        *,
        kind: Kinds = None,
        lexical: bool = True,
        engine: Mapping[str, Any] | None = None,
        settings: dict[str, Any] | None = None,
    ) -> Index:
        """The index at `path` if it is made like this, else a new one there, empty.

        encoder: one, or a late-interaction and a dense one; None for an index without vectors.
        kind: "plaid", "faiss" or "flat", of all vectors, or of each encoder's kind ({"late":
            "plaid"}); by default plaid for late interaction and faiss for dense vectors.
        engine: "nbits" and "centroids" of plaid, "factory" of faiss; by default chosen by size.
        settings: JSON that a new index keeps.
        Raises InputError when there is an index of other encoders, kinds or engine settings.
        """
        encoders = encoders_of(encoder)
        legs = legs_of(encoders, kind, engine or {})
        if not is_there(path):
            folder = IndexFolder.create(path, legs=legs, lexical=lexical, settings=settings or {})
            return cls(folder, IndexEncoders(folder, encoders))
        index = cls.open(path, encoders)
        index.check_made_as(legs, lexical, engine is not None)
        return index

    @classmethod
    def open(cls, path: str | Path, encoder: Encoders = None) -> Index:
        """An index that is there. Without `encoder`, its own are loaded when first needed.

        Raises InputError when there is no index at `path`, or when other encoders made it.
        """
        folder = IndexFolder.open(path)
        return cls(folder, IndexEncoders(folder, encoders_of(encoder)))

    def reopened(self) -> Index:
        """The index as it is on the disk now, with the encoders that are loaded here already.

        This one goes on seeing what it sees. Raises InputError as `open`."""
        folder = IndexFolder.open(self.folder.path)
        return Index(folder, self.encoders.over(folder))

    @property
    def encoder(self) -> DocumentEncoder:
        """The one encoder, or the late-interaction one of two. Raises InputError when the index
        has no vectors, or its encoder has changed or gone."""
        legs = self.folder.legs
        if not legs:
            raise InputError(f"the index {self.folder.path} has no vectors, so no encoder")
        return self.encoders.whole("late" if "late" in legs else "dense")

    def check_made_as(self, legs: Sequence[Leg], lexical: bool, engine: bool = True) -> None:
        """Raises InputError unless the index has vectors of these encoders' kinds, kept as said,
        and is with or without a lexical part as said. engine: compare engine settings as well."""
        folder = self.folder
        different = ""
        have, want = folder.legs, {leg.name: leg for leg in legs}
        if have.keys() != want.keys():
            made_by = [f"{leg.encoder.name} ({leg.name})" for leg in have.values()]
            asked = [f"{leg.encoder.name} ({leg.name})" for leg in legs]
            different = f"with {listed(made_by)}, not with {listed(asked)}"
        elif other := [leg for name, leg in want.items() if have[name].kind != leg.kind]:
            different = f"as kind {have[other[0].name].kind}, not {other[0].kind}"
        elif engine and (
            other := [leg for name, leg in want.items() if have[name].settings != leg.settings]
        ):
            made, asked_for = have[other[0].name].settings, other[0].settings
            different = f"with {shown(made)}, not with {shown(asked_for)}"
        elif folder.lexical != lexical:
            different = f"{'with' if folder.lexical else 'without'} a lexical part"
        if different:
            raise InputError(
                f"the index {folder.path} was made {different}: name another folder, "
                "or remove this one first"
            )

    def sync(self, passages: Iterable[Passage], progress: Progress | None = None) -> Changes:
        """Make the index hold exactly `passages`: add, replace what differs, delete the rest.

        Every COMMIT_SECONDS what is done is committed; passages that are no longer wanted go last,
        together. An interruption (also of the process) therefore leaves a whole index and loses
        seconds, and the same call goes on from there.
        progress: called with the number of passages done so far.
        Raises InputError for an id that comes twice; nothing is deleted then, and what was
        committed stays.
        """
        return self._change(passages, progress, delete_others=True)

    def add(self, passages: Iterable[Passage], progress: Progress | None = None) -> Changes:
        """Add passages, and replace those that are there and differ; as `sync`, but delete none."""
        return self._change(passages, progress, delete_others=False)

    def delete(self, ids: Iterable[str]) -> int:
        """Delete passages; their number. Raises InputError, deleting none, if one is not there."""
        ids = list(dict.fromkeys(ids))
        with self.folder.writer() as writer:
            writer.delete(ids)
            writer.compact()  # commits it first
        return len(ids)

    def compact(self) -> int:
        """Write all segments anew as one, without what was deleted, and the lexical part likewise;
        how many segments were replaced. Readers and searches go on meanwhile."""
        with self.folder.writer() as writer:
            return writer.compact(everything=True)

    def remember(self, settings: dict[str, Any]) -> None:
        """Replace the JSON kept with the index (`folder.settings`) when it differs."""
        if settings != self.folder.settings:
            with self.folder.writer() as writer:
                writer.set_settings(settings)
                writer.commit()

    def search(
        self,
        text: str,
        k: int = 10,
        mode: str = "hybrid",
        where: str | Filter | None = None,
        tuning: Mapping[str, int] = NO_TUNING,
        group: bool = False,
    ) -> list[Hit]:
        """The k best passages for `text`, best first.

        mode: "late", "dense", "lexical" (BM25; no encoder is loaded), "vector" (late and dense), or
            "hybrid" (all). What has several parts fuses those that the index has.
        where: a filter such as "language = 'python'", or what `indexes.filtering.narrowed` gives.
        group: each document (file, or record that was cut) once, by its best passage.
        tuning: "nprobe" and "candidates", for more quality or speed; see `engine.Engine.search`.
        Raises InputError for an empty text and for a mode that the index cannot answer.
        """
        return self.find(text, k, mode, where, tuning, group)[0]

    def find(
        self,
        text: str,
        k: int = 10,
        mode: str = "hybrid",
        where: str | Filter | None = None,
        tuning: Mapping[str, int] = NO_TUNING,
        group: bool = False,
    ) -> tuple[list[Hit], SearchResult]:
        """As `search`; and what `explain.explained` and `explain.marks_of` need to say why."""
        if not text.strip():
            raise InputError("the query is empty: say what to look for")
        vectors = self._asked([text], k, mode)
        depth = 4 * k if group else k
        while True:
            (found,) = self._answers([text], vectors, depth, mode, where, tuning)
            hits = self.hits(self.ranking(found))
            if not group:
                return hits, found
            first = {document_of(hit): hit for hit in reversed(hits)}
            if len(first) >= k or len(hits) < depth:
                kept = sorted(first.values(), key=lambda hit: hit.rank)[:k]
                return [replace(hit, rank=rank) for rank, hit in enumerate(kept, start=1)], found
            depth *= 4

    def hits(self, ranking: Ranking) -> list[Hit]:
        """The passages of a ranking of `search_many`."""
        passages = self.folder.passages([id for id, _ in ranking])
        return [
            Hit(
                rank=rank,
                id=passage.id,
                score=score,
                path=passage.path,
                start_line=passage.start_line,
                end_line=passage.end_line,
                title=passage.title,
                text=passage.text,
                metadata=passage.metadata,
            )
            for rank, (passage, (_, score)) in enumerate(
                zip(passages, ranking, strict=True), start=1
            )
        ]

    def search_many(
        self,
        texts: list[str],
        k: int = 10,
        mode: str = "hybrid",
        where: str | Filter | None = None,
        tuning: Mapping[str, int] = NO_TUNING,
    ) -> list[Ranking]:
        """For each text the k best (id, score), best first. As `search`, all texts at once."""
        return [self.ranking(found) for found in self.answers(texts, k, mode, where, tuning)]

    def answers(
        self,
        texts: list[str],
        k: int = 10,
        mode: str = "hybrid",
        where: str | Filter | None = None,
        tuning: Mapping[str, int] = NO_TUNING,
    ) -> list[SearchResult]:
        """What each part of the index that answers in this mode says to each text: what
        `search_many` combines, and `explain` explains."""
        return self._answers(texts, self._asked(texts, k, mode), k, mode, where, tuning)

    def _asked(self, texts: list[str], k: int, mode: str) -> dict[str, Packed]:
        """The vectors of the texts for each part of the index that needs them in this mode.
        Raises InputError for a k that is no number of passages."""
        if k < 1:
            raise InputError(f"k must be at least 1, it is {k}")
        return {
            name: self.encoders.of_queries(name).encode_queries(texts)
            for name in self.parts(mode)
            if name != "lexical"
        }

    def _answers(
        self,
        texts: list[str],
        vectors: dict[str, Packed],
        k: int,
        mode: str,
        where: str | Filter | None,
        tuning: Mapping[str, int],
    ) -> list[SearchResult]:
        """`answers` to texts with the vectors that `_asked` gives."""
        folder = self.folder
        names = self.parts(mode)
        depth = k if len(names) == 1 else max(k, LEG_DEPTH)
        found = [SearchResult(text, k, mode, {}, {}) for text in texts]
        for name in names:
            if name == "lexical":
                rankings = folder.search_lexical(texts, depth, where)
            else:
                rankings = folder.search_vectors(vectors[name], depth, where, name, tuning)
                for each, queried in zip(found, vectors[name], strict=True):
                    each.vectors[name] = queried
            for each, ranking in zip(found, rankings, strict=True):
                each.rankings[name] = ranking
        return found

    def ranking(self, found: SearchResult) -> Ranking:
        """The k best (id, score) of what the parts say."""
        ranking = found.combined()
        if found.mode == "hybrid" and len(found.rankings) > 1:
            ranking = self.definitions_first(found.question, ranking)
        return ranking[: found.k]

    def definitions_first(self, text: str, ranking: Ranking) -> Ranking:
        """A hybrid ranking as it is for a query that is a name; see `identifiers`."""
        names = names_in(text)
        if not names:
            return ranking
        found = self.folder.passages([id for id, _ in ranking])
        facts = {
            passage.id: (str(passage.metadata.get("name", "")), str(passage.metadata.get("kind")))
            for passage in found
        }
        return definitions_first(ranking, names, facts)

    def parts(self, mode: str = "hybrid") -> list[str]:
        """The parts of the index that answer in this mode, "late", "dense" and "lexical" or some
        of them. Raises InputError when there is none."""
        if mode not in MODES:
            raise InputError(f"unknown mode {mode!r}: use one of {', '.join(MODES)}")
        folder = self.folder
        parts = [*folder.legs, *(["lexical"] if folder.lexical else [])]
        wanted = {"hybrid": parts, "vector": list(folder.legs)}.get(mode, [mode])
        if not wanted or any(name not in parts for name in wanted):
            missing = "lexical part" if mode == "lexical" else f"{mode} vectors"
            missing = "vectors" if mode == "vector" else missing
            others = [name for name in parts if name != mode]
            raise InputError(
                f"the index {folder.path} has no {missing}: use mode {' or '.join(others)}"
            )
        return wanted

    def _change(
        self, passages: Iterable[Passage], progress: Progress | None, delete_others: bool
    ) -> Changes:
        with self.folder.writer() as writer:
            self.folder.refresh()
            stored = set(self.folder.content_hashes())
            changes = Changes()
            seen: set[str] = set()

            def fresh() -> Iterator[Passage]:
                looked_at = 0
                for batch in different(self.folder, passages, stored, seen):
                    changes.unchanged += len(seen) - looked_at - len(batch)
                    looked_at = len(seen)
                    yield from reuse(writer, batch, changes, stored)

            def report() -> None:
                if progress:
                    progress(changes.added + changes.updated + changes.unchanged)

            store(writer, self.encoders.encoded(fresh()), changes, stored, report)
            if delete_others and (others := stored - seen):
                writer.delete(sorted(others))
                changes.deleted = len(others)
            writer.compact()  # commits first what is left
        if progress:
            progress(len(seen))
        return changes


def is_there(path: str | Path) -> bool:
    """Whether there is an index at `path`, perhaps a damaged one."""
    return (Path(path) / MANIFEST_FILE).exists()


def document_of(passage: Passage | Hit) -> str:
    """What a passage is a part of: its file, the record that it was cut from, or itself."""
    return passage.path or str(passage.metadata.get("document") or passage.id)
