"""The options of `mbert-index build`, and the index that they describe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..sources.selection import Selection

if TYPE_CHECKING:
    from ..index import Index
    from ..protocols import DocumentEncoder

NO_ENCODER, DEFAULT_ENCODER = "none", "nano"
HEADS = ("late", "dense", "both")


@dataclass(frozen=True)
class SelectionOptions:
    """Which files are taken and how they are cut; None for an option that was not given."""

    include: Sequence[str] | None = None
    exclude: Sequence[str] | None = None
    max_bytes: int | None = None
    whole: bool | None = None

    def over(self, default: Selection) -> Selection:
        """Return the options that were given, else those of `default`."""
        documents = default.documents
        if self.whole is not None:
            documents = "whole" if self.whole else "cut"
        return Selection(
            tuple(self.include) if self.include else default.include,
            tuple(self.exclude) if self.exclude else default.exclude,
            default.max_bytes if self.max_bytes is None else self.max_bytes,
            documents,
        )


@dataclass(frozen=True)
class BuildOptions:
    """Encoder, engine and settings of an index; None for an option that was not given."""

    encoder: str | None = None
    head: str | None = None
    engine: str | None = None
    nbits: int | None = None
    centroids: int | None = None
    faiss: str | None = None
    lexical: bool | None = None

    @property
    def is_default(self) -> bool:
        """Whether no option was given."""
        return all(value is None for value in vars(self).values())

    def check(self, sources: list[Path]) -> None:
        """Raise InputError for what is wrong before any encoder is loaded."""
        from ..indexes.manifest import ENGINES
        from ..sources import source_root

        source_root(sources)
        if self.head not in (None, *HEADS):
            raise InputError(f"unknown head {self.head!r}: use one of {', '.join(HEADS)}")
        if self.engine not in (None, *ENGINES):
            raise InputError(f"unknown index kind {self.engine!r}: use one of {', '.join(ENGINES)}")
        about_vectors = self.head or self.engine or self.engine_settings
        if about_vectors is not None and self.encoder == NO_ENCODER:
            raise InputError(
                "--head, --kind and engine settings say how vectors are kept, and --encoder none "
                "makes none"
            )

    @property
    def engines(self) -> dict[str, str] | str | None:
        """The engine as `Index.create` takes it: with both heads, of the leg that it can search."""
        if self.head == "both" and self.engine in ("plaid", "faiss"):
            return {"late" if self.engine == "plaid" else "dense": self.engine}
        return self.engine

    @property
    def engine_settings(self) -> dict[str, Any] | None:
        """The engine settings that were given, None where there are none."""
        given = {"nbits": self.nbits, "centroids": self.centroids, "factory": self.faiss}
        return {name: value for name, value in given.items() if value is not None} or None

    def load_encoders(self, whole: bool) -> list[DocumentEncoder]:
        """Load the encoders; none for BM25 alone.

        whole: documents are not cut, so late interaction reads as many tokens as the network has
        positions, not as many as its folder says.
        """
        name = self.encoder or DEFAULT_ENCODER
        if name == NO_ENCODER:
            return []
        from ..encoders import load_encoder

        only_dense = self.engine == "faiss" or self.faiss is not None
        head = self.head or ("dense" if only_dense else None)
        heads = ("late", "dense") if head == "both" else (head,)
        encoders = [load_encoder(name, each) for each in heads]
        for encoder in encoders:
            if whole and encoder.kind == "late":
                encoder.set_lengths(document=encoder.max_positions)
        return list(encoders)

    def open_existing(self, path: Path, whole: bool) -> Index:
        """Open the index at `path`.

        Raises InputError where it was made in another way, or its encoder is no longer the one
        that made it. The encoder is loaded only to compare it with one that was named, or where it
        has to read more of a document than before. whole: as in `load_encoders`.
        """
        from ..index import Index, check_same_legs
        from ..sync.provenance import Provenance

        index = Index.open(path)
        stored = index.folder.legs
        lexical = index.folder.lexical if self.lexical is None else self.lexical
        options = self
        is_cut = Provenance.of(index.folder).selection.documents != "whole"
        if whole and is_cut and "late" in stored and options.encoder is None:
            options = replace(options, encoder=stored["late"].encoder.name)
        if options.encoder is None and options.head is None:
            legs = [
                replace(
                    leg,
                    engine=options.engine or leg.engine,
                    settings=options.engine_settings or leg.settings,
                )
                for leg in stored.values()
            ]
            check_same_legs(index.folder, legs, lexical)
            index.encoders.check()
            return index
        if options.head is None and len(stored) == 1 and options.encoder != NO_ENCODER:
            options = replace(options, head=next(iter(stored)))
        elif options.head is None and len(stored) == 2:
            options = replace(options, head="both")
        return Index.create(
            path,
            options.load_encoders(whole),
            engine=options.engines or {name: leg.engine for name, leg in stored.items()},
            engine_settings=options.engine_settings,
            lexical=lexical,
        )
