"""The encoders of an index: the legs they make, loaded when first needed, run side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice, tee
from pathlib import Path
from typing import Any, cast

from ..errors import BUILD_AGAIN, InputError
from ..indexes.folder import IndexFolder
from ..indexes.manifest import DEFAULT_ENGINES, EncoderIdentity, Leg
from ..packed import Packed
from ..protocols import DocumentEncoder, QueryEncoder
from ..types import Passage

BATCH = 1024  # passages stored at once where there is nothing to encode
FEW = 12  # passages that are encoded sooner without torch than torch is loaded

Encoders = DocumentEncoder | Sequence[DocumentEncoder] | None
Engines = str | Mapping[str, str] | None

# what an encoder is loaded with, beside its name and head
ENCODER_OPTIONS = {"truncate", "pool_factor", "query_length", "document_length"}
# a setting of an engine -> the engine that takes it
ENGINE_SETTINGS = {"nbits": "plaid", "centroids": "plaid", "factory": "faiss"}


class IndexEncoders:
    """Encoders by leg: those that were given, the others loaded when first needed.

    An index that is not trusted records any name, so of those only shipped encoders are loaded.

    Args:
        folder: The index.
        document_encoders: Loaded encoders.
        query_encoders: Loaded encoders of queries.
        name: The encoder to load in place of the recorded name, as the user gave it.

    Raises:
        InputError: An encoder did not make the index's vectors; also where one is loaded, which may
            not exist.
    """

    def __init__(
        self,
        folder: IndexFolder,
        document_encoders: Sequence[DocumentEncoder] = (),
        query_encoders: Sequence[QueryEncoder] = (),
        name: str | None = None,
    ) -> None:
        self._folder, self._given_name = folder, name
        self._document_encoders = {encoder.kind: encoder for encoder in document_encoders}
        self._query_encoders = {encoder.kind: encoder for encoder in query_encoders}
        for encoder in (*document_encoders, *query_encoders):
            self._check_made(encoder)

    def for_folder(self, folder: IndexFolder) -> IndexEncoders:
        """Return the same loaded encoders for another commit of the index."""
        documents, queries = self._document_encoders.values(), self._query_encoders.values()
        return IndexEncoders(folder, list(documents), list(queries), self._given_name)

    def check(self) -> None:
        """Load the query encoders. Raise InputError where one did not make the index's vectors."""
        for leg in self._folder.legs:
            self.query_encoder(leg)

    def document_encoder(self, leg: str) -> DocumentEncoder:
        """Return the leg's encoder of documents and queries."""
        if leg not in self._document_encoders:
            from ..encoders import load_encoder

            encoder = load_encoder(self._name(leg), leg, **self._options(leg))
            self._check_made(encoder)
            self._document_encoders[leg] = encoder
        return self._document_encoders[leg]

    def query_encoder(self, leg: str) -> QueryEncoder:
        """Return the leg's encoder of queries; where none is loaded, one that needs no torch."""
        if leg in self._document_encoders:
            return self._document_encoders[leg]
        if leg not in self._query_encoders:
            from ..encoders import load_query_encoder

            encoder = load_query_encoder(self._name(leg), leg, **self._options(leg))
            if encoder is None:
                return self.document_encoder(leg)
            self._check_made(encoder)
            self._query_encoders[leg] = encoder
        return self._query_encoders[leg]

    def _name(self, leg: str) -> str:
        """Return the name of the leg's encoder, if it may be loaded."""
        from ..encoders import SHIPPED

        name = self._folder.legs[leg].encoder.name
        if self._given_name is not None:
            return self._given_name
        if name not in SHIPPED:
            self._folder.check_trusted(
                f"the encoder {name!r} that it names is not loaded (--encoder NAME gives the "
                "encoder, and --mode lexical needs none)"
            )
        return name

    def _options(self, leg: str) -> dict[str, Any]:
        """Return the options of the leg's encoder."""
        options = self._folder.legs[leg].encoder.options
        if unknown := sorted(options.keys() - ENCODER_OPTIONS):
            raise InputError(
                f"the index {self._folder.path} was made by an encoder with {unknown[0]!r}, which "
                "load_encoder does not take: give the loaded encoder"
            )
        for name, value in options.items():
            number = float(value) if type(value) in (int, float) and value < 2**31 else -1.0
            if not number >= 1 or (name != "pool_factor" and type(value) is not int):
                raise InputError(
                    f"the index {self._folder.path} is damaged: its encoder's {name} is {value!r}"
                )
        return options

    def encode(self, passages: Iterator[Passage]) -> Iterator[tuple[list[Passage], Vectors]]:
        """Yield batches of passages with their vectors by leg, in order.

        Encoders are loaded once there is a passage, and torch only for more than a few.
        """
        legs = list(self._folder.legs)
        if not legs:
            while batch := list(islice(passages, BATCH)):
                yield batch, {}
            return
        are_loaded = all(leg in self._document_encoders for leg in legs)
        if head := list(islice(passages, 1 if are_loaded else FEW + 1)):
            few = not are_loaded and len(head) <= FEW
            load = self._quickest_document_encoder if few else self.document_encoder
            yield from encode_in_step(chain(head, passages), {leg: load(leg) for leg in legs})

    def _quickest_document_encoder(self, leg: str) -> DocumentEncoder:
        """Return an encoder of documents that loads without torch, if the leg has one."""
        encoder = self.query_encoder(leg)
        if hasattr(encoder, "stream_documents"):
            return cast(DocumentEncoder, encoder)
        return self.document_encoder(leg)

    def _check_made(self, encoder: QueryEncoder) -> None:
        """Raise InputError where the index's vectors were made by another encoder."""
        folder = self._folder
        leg = folder.legs.get(encoder.kind)
        if leg is None:
            made_by = [f"{each.encoder.name} ({name})" for name, each in folder.legs.items()]
            if not made_by:
                return
            raise InputError(
                f"the index {folder.path} was made by {join_names(made_by)}, not by a "
                f"{encoder.kind} encoder: use that encoder, or build into another folder"
            )
        recorded = leg.encoder
        if encoder.fingerprint != recorded.fingerprint:
            problem = (
                f"a different state or other settings of it: {BUILD_AGAIN}"
                if resolve_name(encoder.name) == recorded.name
                else f"not {encoder.name}: use that encoder"
            )
            raise InputError(
                f"the index {folder.path} was made by encoder {recorded.name}, {problem}, "
                "or build into another folder"
            )


Vectors = dict[str, Packed]  # leg -> float32 vectors, one sequence per passage
_END: Any = object()  # of a stream


def encode_in_step(
    passages: Iterable[Passage], encoders: Mapping[str, DocumentEncoder]
) -> Iterator[tuple[list[Passage], Vectors]]:
    """Encode passages with several encoders (at least one) side by side.

    Yield batches in order, each with the vectors of every encoder. Encoders chunk their streams as
    they like; a batch ends wherever one of them does. Only the chunk on which each encoder works
    is in memory. Raises InputError for an encoder that returns too few vectors.
    """
    own, *copies = tee(passages, 1 + len(encoders))
    if (together := _encoded_together(copies[0], encoders)) is not None:
        del copies  # what is not read would be stored for it
        for vectors in together:
            count = len(next(iter(vectors.values())))
            yield list(islice(own, count)), vectors
        return
    streams = {
        name: encoder.stream_documents(passage.content for passage in copy)
        for (name, encoder), copy in zip(encoders.items(), copies, strict=True)
    }
    pending: Vectors = {}
    while True:
        for name, stream in streams.items():
            while name not in pending or len(pending[name]) == 0:
                chunk = next(stream, _END)
                if chunk is _END:
                    if next(own, None) is not None:
                        raise InputError(f"the {name} encoder returned vectors for too few texts")
                    return
                if not isinstance(chunk, Packed):
                    raise TypeError(
                        "an encoder's stream_documents must yield Packed vectors, "
                        f"not {type(chunk).__name__}"
                    )
                pending[name] = chunk
        count = min(map(len, pending.values()))
        yield (
            list(islice(own, count)),
            {name: _slice(vectors, 0, count) for name, vectors in pending.items()},
        )
        pending = {name: _slice(vectors, count, len(vectors)) for name, vectors in pending.items()}


def _encoded_together(
    passages: Iterator[Passage], encoders: Mapping[str, DocumentEncoder]
) -> Iterator[Vectors] | None:
    """Encode with the heads of one network, which then runs once; None for other encoders."""
    first, *others = encoders.values()
    if not others or not hasattr(first, "stream_documents_with"):
        return None
    chunks = first.stream_documents_with(others, (passage.content for passage in passages))
    if chunks is None:
        return None
    return (dict(zip(encoders, vectors, strict=True)) for vectors in chunks)


def _slice(vectors: Packed, first: int, end: int) -> Packed:
    """Return sequences first..end - 1 as a view."""
    offsets = vectors.offsets[first : end + 1]
    return Packed(vectors.values[offsets[0] : offsets[-1]], offsets - offsets[0])


def as_list(encoders: Encoders) -> list[DocumentEncoder]:
    """Return encoders as a list.

    Raises InputError for two of one kind, TypeError for what is no encoder.
    """
    if encoders is None:
        return []
    listed: list[Any] = list(encoders) if isinstance(encoders, list | tuple) else [encoders]
    for encoder in listed:
        if isinstance(encoder, type) or not hasattr(encoder, "stream_documents"):
            raise TypeError(
                "an encoder must be what load_encoder returns (or have its methods), "
                f"not {type(encoder).__name__}: load_encoder('nano') for example"
            )
    if len({encoder.kind for encoder in listed}) < len(listed):
        raise InputError("an index takes one late-interaction and one dense encoder at most")
    return listed


def make_legs(
    encoders: Sequence[DocumentEncoder], engines: Engines, settings: Mapping[str, Any]
) -> list[Leg]:
    """Return a leg per encoder; see `Index.create` for the arguments.

    Raises InputError for a setting that no leg's engine takes, TypeError for a wrong type.
    """
    if not (engines is None or isinstance(engines, str | Mapping)):
        raise TypeError(f"engine must be a name such as 'flat', not {type(engines).__name__}")
    if not isinstance(settings, Mapping):
        raise TypeError(f"engine_settings must be a dictionary, not {type(settings).__name__}")
    legs = []
    for encoder in encoders:
        chosen = engines if isinstance(engines, str) else (engines or {}).get(encoder.kind)
        engine = chosen or DEFAULT_ENGINES[encoder.kind]
        own = {key: value for key, value in settings.items() if ENGINE_SETTINGS.get(key) == engine}
        legs.append(Leg(_identity(encoder), engine, own))
    for key in settings:
        if key not in ENGINE_SETTINGS:
            raise InputError(f"unknown setting {key!r}: use one of {', '.join(ENGINE_SETTINGS)}")
        if all(key not in leg.settings for leg in legs):
            raise InputError(
                f"{key} is a setting of kind {ENGINE_SETTINGS[key]}, which is not used here"
            )
    return legs


def join_names(names: Sequence[str]) -> str:
    """Join names for a message."""
    return " and ".join(names) or "no encoder"


def _identity(encoder: DocumentEncoder) -> EncoderIdentity:
    name = resolve_name(encoder.name)
    options = dict(getattr(encoder, "options", {}))  # an encoder of the user's own has none
    return EncoderIdentity(name, encoder.fingerprint, encoder.kind, encoder.dimension, options)


def resolve_name(name: str) -> str:
    """Return the absolute path of an encoder's folder, so that any process finds it again.

    Names of shipped models and of models on the hub stay as they are.
    """
    from ..encoders import SHIPPED

    return str(Path(name).resolve()) if name not in SHIPPED and Path(name).is_dir() else name
