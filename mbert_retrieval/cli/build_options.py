"""What the options of `mbert-index build` ask of an index."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    from ..index import Index
    from ..protocols import DocumentEncoder

NO_ENCODER, DEFAULT_ENCODER = "none", "nano"
HEADS = ("late", "dense", "both")


@dataclass
class Asked:
    """An option is None where it is not given."""

    encoder: str | None
    head: str | None
    kind: str | None
    nbits: int | None
    centroids: int | None
    faiss: str | None
    lexical: bool | None

    @property
    def is_default(self) -> bool:
        """Whether no option was given."""
        return all(value is None for value in vars(self).values())

    def check(self, sources: list[Path]) -> None:
        """Raises InputError for what is wrong at first sight, before the encoder is loaded."""
        from ..indexes.manifest import KINDS
        from ..sources import source_root

        source_root(sources)
        if self.head not in (None, *HEADS):
            raise InputError(f"unknown head {self.head!r}: use one of {', '.join(HEADS)}")
        if self.kind not in (None, *KINDS):
            raise InputError(f"unknown index kind {self.kind!r}: use one of {', '.join(KINDS)}")
        vectors = self.head or self.kind or self.engine
        if vectors is not None and self.encoder == NO_ENCODER:
            raise InputError(
                "--head, --kind and engine settings say how vectors are kept, and --encoder none "
                "makes none"
            )

    @property
    def kinds(self) -> dict[str, str] | str | None:
        """As `Index.create` takes them: with both heads a kind is of the vectors that it can be."""
        if self.head == "both" and self.kind in ("plaid", "faiss"):
            return {"late" if self.kind == "plaid" else "dense": self.kind}
        return self.kind

    @property
    def engine(self) -> dict[str, Any] | None:
        """The engine settings that were given, or None."""
        given = {"nbits": self.nbits, "centroids": self.centroids, "factory": self.faiss}
        return {name: value for name, value in given.items() if value is not None} or None

    def load(self, whole: bool) -> list[DocumentEncoder]:
        """The encoders, none for BM25 alone. whole: late interaction reads as many tokens of a
        document as it can, not as many as its folder says."""
        name = self.encoder or DEFAULT_ENCODER
        if name == NO_ENCODER:
            return []
        from ..encoders import load_encoder

        only_dense = self.kind == "faiss" or self.faiss is not None
        head = self.head or ("dense" if only_dense else None)
        heads = ("late", "dense") if head == "both" else (head,)
        encoders = [load_encoder(name, each) for each in heads]
        for encoder in encoders:
            if whole and encoder.kind == "late":
                encoder.set_lengths(document=encoder.max_positions)
        return list(encoders)

    def existing(self, place: Path, whole: bool) -> Index:
        """The index at `place`. Raises InputError when it is not as asked for, or its encoder is no
        longer the one that made it. That is loaded whole only to compare it with one that was
        named, or that has to read more of a document now. whole: as in `load`."""
        from ..index import Index
        from ..sync.provenance import selection

        target = Index.open(place)
        recorded = target.folder.legs
        if whole and selection(target.folder.settings).documents != "whole" and "late" in recorded:
            self.encoder = self.encoder or recorded["late"].encoder.name
        lexical = target.folder.lexical if self.lexical is None else self.lexical
        if self.encoder is None and self.head is None:
            legs = [
                replace(leg, kind=self.kind or leg.kind, settings=self.engine or leg.settings)
                for leg in recorded.values()
            ]
            target.check_made_as(legs, lexical)
            target.encoders.check()
            return target
        if self.head is None and len(recorded) == 1 and self.encoder != NO_ENCODER:
            (self.head,) = recorded
        elif self.head is None and len(recorded) == 2:
            self.head = "both"
        kinds = {name: leg.kind for name, leg in recorded.items()}
        return Index.create(
            place, self.load(whole), kind=self.kinds or kinds, engine=self.engine, lexical=lexical
        )
