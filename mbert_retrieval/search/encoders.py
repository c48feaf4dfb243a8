"""The encoders of an index: those that it was given, the others loaded when first needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import cast

from ..errors import InputError
from ..indexes.folder import IndexFolder
from ..packed import Packed
from ..protocols import DocumentEncoder, QueryEncoder, in_step
from ..sync.passages import BATCH
from ..types import Passage
from .legs import full_name, listed

FEW = 12  # passages that are encoded sooner than torch is loaded


class IndexEncoders:
    """Raises InputError, here and where one is loaded, for an encoder that did not make the index's
    vectors, and for one that is not there."""

    def __init__(
        self,
        folder: IndexFolder,
        whole: Sequence[DocumentEncoder] = (),
        light: Sequence[QueryEncoder] = (),
    ) -> None:
        self._folder = folder
        self._whole = {encoder.kind: encoder for encoder in whole}
        self._light = {encoder.kind: encoder for encoder in light}
        for encoder in (*whole, *light):
            self._compare(encoder)

    def over(self, folder: IndexFolder) -> IndexEncoders:
        """The same encoders for another state of the index."""
        return IndexEncoders(folder, list(self._whole.values()), list(self._light.values()))

    def check(self) -> None:
        """Raises InputError when one of them cannot be loaded or did not make the vectors."""
        for leg in self._folder.legs:
            self.of_queries(leg)

    def whole(self, leg: str) -> DocumentEncoder:
        """One that encodes documents as well."""
        if leg not in self._whole:
            from ..encoders import load_encoder

            recorded = self._folder.legs[leg].encoder
            encoder = load_encoder(recorded.name, recorded.kind, **recorded.options)
            self._compare(encoder)
            self._whole[leg] = encoder
        return self._whole[leg]

    def of_queries(self, leg: str) -> QueryEncoder:
        """The one that was given, or one that encodes queries without loading torch."""
        if leg in self._whole:
            return self._whole[leg]
        if leg not in self._light:
            from ..encoders import load_query_encoder

            recorded = self._folder.legs[leg].encoder
            light = load_query_encoder(recorded.name, recorded.kind, **recorded.options)
            if light is None:
                return self.whole(leg)
            self._compare(light)
            self._light[leg] = light
        return self._light[leg]

    def encoded(
        self, passages: Iterator[Passage]
    ) -> Iterator[tuple[list[Passage], dict[str, Packed]]]:
        """Passages in parts with their vectors. Encoders are loaded when there is a passage, and
        those that need torch when there are more than a few."""
        legs = list(self._folder.legs)
        if not legs:
            while part := list(islice(passages, BATCH)):
                yield part, {}
            return
        loaded = all(leg in self._whole for leg in legs)
        if head := list(islice(passages, 1 if loaded else FEW + 1)):
            few = not loaded and len(head) <= FEW
            encoder = self._soonest if few else self.whole
            yield from in_step(chain(head, passages), {leg: encoder(leg) for leg in legs})

    def _soonest(self, leg: str) -> DocumentEncoder:
        """One of documents that starts at once, where there is such a one."""
        light = self.of_queries(leg)
        if hasattr(light, "stream_documents"):
            return cast(DocumentEncoder, light)
        return self.whole(leg)

    def _compare(self, encoder: QueryEncoder) -> None:
        """With the one that the index remembers."""
        folder = self._folder
        leg = folder.legs.get(encoder.kind)
        if leg is None:
            made_by = [f"{each.encoder.name} ({name})" for name, each in folder.legs.items()]
            if not made_by:
                return
            raise InputError(
                f"the index {folder.path} was made by {listed(made_by)}, not by a "
                f"{encoder.kind} encoder: use that encoder, or build into another folder"
            )
        recorded = leg.encoder
        if encoder.fingerprint != recorded.fingerprint:
            same = full_name(encoder.name) == recorded.name
            problem = (
                "a different state or other settings of it: remove it and build it again"
                if same
                else f"not {encoder.name}: use that encoder"
            )
            raise InputError(
                f"the index {folder.path} was made by encoder {recorded.name}, {problem}, "
                "or build into another folder"
            )
