"""Encoders run by sentence-transformers, for evaluation beside the encoders of this package."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..errors import InputError
from ..files import sha256_of_file
from ..packed import Packed

if TYPE_CHECKING:
    from ..protocols import DocumentEncoder

PEER_PREFIX = "st:"
LEXICAL_NAMES = ("none", "bm25")
# files of a repository that are not needed to run the model in torch
NOT_NEEDED = ["*.bin", "*.onnx", "onnx/*", "openvino/*", "*.h5", "*.msgpack", "*.ot", "*.gguf"]


def open_encoder(
    name: str,
    head: Literal["dense", "late"] | None = None,
) -> DocumentEncoder | None:
    """Load an encoder by the name that the command line uses.

    Args:
        name: A name or folder of `load_encoder`; "st:NAME" for a model to run in
            sentence-transformers, as models of other architectures always are; "bm25" or "none"
            for no encoder.
        head: "dense" or "late", for an encoder of this package that has both.

    Returns:
        The encoder; None for "bm25" or "none".

    Raises:
        InputError: There is no such encoder, or it cannot be loaded.

    Example:
        >>> open_encoder("nano", "dense").dimension
        256
        >>> open_encoder("bm25") is None
        True
    """
    if name.lower() in LEXICAL_NAMES:
        return None
    if name.startswith(PEER_PREFIX):
        return open_peer(name.removeprefix(PEER_PREFIX))
    if _is_foreign(name):
        return open_peer(name)
    from ..encoders import load_encoder

    return load_encoder(name, head=head)


def check_encoder(encoder: object | None) -> None:
    """Raise TypeError if this is neither an encoder nor None, but the name of one, say."""
    if encoder is not None and not hasattr(encoder, "encode_queries"):
        raise TypeError(
            f"{encoder!r} is not an encoder: load one with load_encoder or open_encoder"
        )


def limit_lengths(encoder: Any, query: int | None, document: int | None) -> None:
    """Set the lengths that an encoder reads, at most the positions of its network.

    Call it before the encoder's fingerprint is read, which depends on the lengths.

    Args:
        encoder: An encoder of this package or a `Peer`.
        query: Tokens of a query, special ones included; None leaves it unchanged.
        document: Tokens of a document, special ones included; None leaves it unchanged.
    """
    if query is not None:
        encoder.set_lengths(query=min(query, encoder.max_positions))
    if document is not None:
        encoder.set_lengths(document=min(document, encoder.max_positions))


def open_peer(name: str) -> DensePeer | LatePeer:
    """Load a sentence-transformers or PyLate model with sentence-transformers.

    Args:
        name: A folder, or the name of a repository on the hub.

    Returns:
        The model as an encoder.

    Raises:
        InputError: There is no such model, or the library cannot load it.
    """
    folder = Path(name)
    if folder.is_dir() or name.count("/") != 1 or name.startswith((".", "/", "~")):
        if not (folder / "modules.json").is_file():
            raise InputError(f"{name} is not a sentence-transformers folder (no modules.json)")
    else:
        folder = _download(name)
    return LatePeer(folder, name) if _is_late(folder) else DensePeer(folder, name)


class Peer(ABC):
    """A sentence-transformers model as a `DocumentEncoder`.

    The model's own prompts, pooling, query expansion and lengths apply; vectors are normalized.

    Args:
        folder: Folder of the model.
        name: Name for tables and records; by default the folder.
        batch_size: Texts per batch.
    """

    kind: str

    def __init__(self, folder: str | Path, name: str | None = None, batch_size: int = 32) -> None:
        self.folder = Path(folder)
        self.name = f"{PEER_PREFIX}{name or folder}"
        self.batch_size = batch_size
        self.model = _load(self.folder, self.kind)
        self.dimension: int = self.model.get_embedding_dimension()
        self._lengths: list[str] = []

    @property
    def max_positions(self) -> int:
        """Positions of the network; the model's maximum length if its configuration has none."""
        config = getattr(self.model[0], "auto_model", None)
        positions = getattr(getattr(config, "config", None), "max_position_embeddings", None)
        return int(positions or self.model.max_seq_length)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the folder's files and of the lengths that were set, in hexadecimal."""
        own = fingerprint_of(self.folder)
        if not self._lengths:
            return own
        return hashlib.sha256("\n".join([own, *self._lengths]).encode()).hexdigest()

    @abstractmethod
    def set_lengths(self, query: int | None = None, document: int | None = None) -> None:
        """Set the tokens to read, special ones included; call it before reading the fingerprint."""

    def encode_queries(self, texts: list[str]) -> Packed:
        """Return unit-norm float32 vectors, one sequence per text."""
        return self._packed(self.model.encode_query(texts, **self._options()))

    def encode_documents(self, texts: list[str]) -> Packed:
        """Return unit-norm float32 vectors, one sequence per text."""
        return self._packed(self.model.encode_document(texts, **self._options()))

    def stream_documents(self, texts: Iterable[str]) -> Iterator[Packed]:
        """Yield vectors of chunks of texts, in the order of the texts."""
        remaining = iter(texts)
        while chunk := list(islice(remaining, 32 * self.batch_size)):
            yield self.encode_documents(chunk)

    def _options(self) -> dict[str, Any]:
        return {
            "batch_size": self.batch_size,
            "normalize_embeddings": True,
            "convert_to_numpy": True,
            "show_progress_bar": False,
        }

    @abstractmethod
    def _packed(self, vectors: Any) -> Packed:
        """Return the library's vectors as packed vectors."""


class DensePeer(Peer):
    """A single-vector model."""

    kind = "dense"

    def set_lengths(self, query: int | None = None, document: int | None = None) -> None:
        """Set the document length; the library has one length for queries and documents."""
        if document is not None:
            self.model.max_seq_length = document
            self._lengths.append(f"document {document}")

    def _packed(self, vectors: Any) -> Packed:
        return Packed.from_rows(np.asarray(vectors, np.float32).reshape(-1, self.dimension))


class LatePeer(Peer):
    """A late-interaction model, in sentence-transformers' MultiVectorEncoder.

    The library reads folders of PyLate and Stanford's ColBERT too.
    """

    kind = "late"

    def set_lengths(self, query: int | None = None, document: int | None = None) -> None:
        transformer = self.model[0]
        if query is not None:
            transformer.query_length = query
            self._lengths.append(f"query {query}")
        if document is not None:
            transformer.document_length = document
            self._lengths.append(f"document {document}")

    def _packed(self, vectors: Any) -> Packed:
        if not len(vectors):
            return Packed(np.zeros((0, self.dimension), np.float32), np.zeros(1, np.int64))
        return Packed.from_sequences(vectors, dtype=np.float32)


def fingerprint_of(folder: Path) -> str:
    """Return the SHA-256 of the names and contents of a folder's files, hidden files excluded."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            digest.update(f"{name.as_posix()}\0{sha256_of_file(path)}\n".encode())
    return digest.hexdigest()


def _load(folder: Path, kind: str) -> Any:
    try:
        from sentence_transformers import MultiVectorEncoder, SentenceTransformer
    except ModuleNotFoundError:
        raise InputError(
            f"{folder} needs sentence-transformers: pip install 'mbert-retrieval[eval]' installs it"
        ) from None
    import torch

    library = MultiVectorEncoder if kind == "late" else SentenceTransformer
    options = {} if torch.cuda.is_available() else {"dtype": torch.float32}
    try:
        return library(str(folder), local_files_only=True, model_kwargs=options)
    except (OSError, ValueError, ImportError, KeyError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"sentence-transformers cannot load {folder}: {reason}") from error


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, ignore_patterns=NOT_NEEDED))
    except Exception as error:  # of the hub's client or of the network library below it
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"cannot load {name} from the hub: {reason}") from error


def _is_late(folder: Path) -> bool:
    from ..backbone.files import read_json

    settings = folder / "config_sentence_transformers.json"
    config = read_json(settings) if settings.is_file() else {}
    return (
        config.get("model_type") in ("ColBERT", "MultiVectorEncoder")
        or str(config.get("similarity_fn_name", "")).lower() in ("maxsim", "meanmaxsim")
        or (folder / "artifact.metadata").is_file()
    )


def _is_foreign(name: str) -> bool:
    """Return whether `name` is a sentence-transformers folder with a network of another kind."""
    from ..backbone.files import find_checkpoint, read_json
    from ..encoders import SHIPPED

    if name in SHIPPED:
        return False
    folder = find_checkpoint(name)
    if not (folder / "modules.json").is_file() or not (folder / "config.json").is_file():
        return False
    model_type = read_json(folder / "config.json").get("model_type", "modernbert")
    return bool(model_type != "modernbert")
