"""Encoders of other libraries, measured with the same harness as ours."""

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
from ..packed import Packed
from .files import sha256_of

if TYPE_CHECKING:
    from ..protocols import DocumentEncoder

PEER_PREFIX = "st:"
LEXICAL_NAMES = ("none", "bm25")
# what of a repository on the hub is not needed to run the model in torch
NOT_NEEDED = ["*.bin", "*.onnx", "onnx/*", "openvino/*", "*.h5", "*.msgpack", "*.ot", "*.gguf"]


def open_encoder(
    name: str,
    head: Literal["dense", "late"] | None = None,
) -> DocumentEncoder | None:
    """The encoder that the command line names, or None for "bm25" (or "none").

    "st:NAME" is run by sentence-transformers; everything else goes, with the head that is wanted,
    to `load_encoder`, unless it is of another architecture than ours.
    """
    if name.lower() in LEXICAL_NAMES:
        return None
    if name.startswith(PEER_PREFIX):
        return open_peer(name.removeprefix(PEER_PREFIX))
    if _is_foreign(name):
        return open_peer(name)
    from ..encoders import load_encoder

    return load_encoder(name, head=head)


def limit_lengths(encoder: Any, query: int | None, document: int | None) -> None:
    """Make an encoder read so many tokens, or as many as it has positions; None: as it is.

    To be called before its fingerprint is read, which holds the lengths.
    """
    if query is not None:
        encoder.set_lengths(query=min(query, encoder.max_positions))
    if document is not None:
        encoder.set_lengths(document=min(document, encoder.max_positions))


def open_peer(name: str) -> DensePeer | LatePeer:
    """A sentence-transformers or PyLate model, folder or hub name, run by sentence-transformers.

    Raises InputError when it is not there or the library cannot load it.
    """
    folder = Path(name)
    if folder.is_dir() or name.count("/") != 1 or name.startswith((".", "/", "~")):
        if not (folder / "modules.json").is_file():
            raise InputError(f"{name} is not a sentence-transformers folder (no modules.json)")
    else:
        folder = _download(name)
    return LatePeer(folder, name) if _is_late(folder) else DensePeer(folder, name)


class Peer(ABC):
    """A sentence-transformers model as an encoder of ours.

    Its own prompts, pooling, expansion and lengths apply; vectors are made unit length.
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
        """The network's positions; its own maximum where the configuration says none."""
        config = getattr(self.model[0], "auto_model", None)
        positions = getattr(getattr(config, "config", None), "max_position_embeddings", None)
        return int(positions or self.model.max_seq_length)

    @cached_property
    def fingerprint(self) -> str:
        """Hex sha256 over the folder's files, and over lengths that were set."""
        own = fingerprint_of(self.folder)
        if not self._lengths:
            return own
        return hashlib.sha256("\n".join([own, *self._lengths]).encode()).hexdigest()

    @abstractmethod
    def set_lengths(self, query: int | None = None, document: int | None = None) -> None:
        """Read so many tokens; to be called before the fingerprint is read."""

    def encode_queries(self, texts: list[str]) -> Packed:
        """Unit-norm float32 vectors, one sequence a text."""
        return self._packed(self.model.encode_query(texts, **self._options()))

    def encode_documents(self, texts: list[str]) -> Packed:
        """Unit-norm float32 vectors, one sequence a text."""
        return self._packed(self.model.encode_document(texts, **self._options()))

    def stream_documents(self, texts: Iterable[str]) -> Iterator[Packed]:
        """Chunks in the order of the texts; the library sorts by length inside each."""
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
        """What the library gave, as packed vectors."""


class DensePeer(Peer):
    """A single-vector model."""

    kind = "dense"

    def set_lengths(self, query: int | None = None, document: int | None = None) -> None:
        """The library has one length for both: the document's."""
        if document is not None:
            self.model.max_seq_length = document
            self._lengths.append(f"document {document}")

    def _packed(self, vectors: Any) -> Packed:
        return Packed.from_rows(np.asarray(vectors, np.float32).reshape(-1, self.dimension))


class LatePeer(Peer):
    """A late-interaction model: sentence-transformers' MultiVectorEncoder, which reads PyLate's and
    Stanford's folders too."""

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
    """Hex sha256 over the names and contents of a folder's files, hidden ones left out."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            digest.update(f"{name.as_posix()}\0{sha256_of(path)}\n".encode())
    return digest.hexdigest()


def _load(folder: Path, kind: str) -> Any:
    try:
        from sentence_transformers import MultiVectorEncoder, SentenceTransformer
    except ModuleNotFoundError:
        raise InputError(
            f"{folder} needs sentence-transformers: pip install 'mbert-retrieval[eval]' brings it"
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
    except Exception as error:  # from the hub's client and from the network below it
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"cannot load {name} from the hub: {reason}") from error


def _is_late(folder: Path) -> bool:
    from ..backbone.files import read_json

    settings = folder / "config_sentence_transformers.json"
    described = read_json(settings) if settings.is_file() else {}
    return (
        described.get("model_type") in ("ColBERT", "MultiVectorEncoder")
        or str(described.get("similarity_fn_name", "")).lower() in ("maxsim", "meanmaxsim")
        or (folder / "artifact.metadata").is_file()
    )


def _is_foreign(name: str) -> bool:
    """True for a sentence-transformers folder whose network is not ModernBERT."""
    from ..backbone.files import find_checkpoint, read_json
    from ..encoders import SHIPPED

    if name in SHIPPED:
        return False
    folder = find_checkpoint(name)
    if not (folder / "modules.json").is_file() or not (folder / "config.json").is_file():
        return False
    return read_json(folder / "config.json").get("model_type", "modernbert") != "modernbert"
