"""Encoders of other libraries, measured with the same harness as ours."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from ..errors import InputError
from ..packed import Packed
from .files import sha256_of

if TYPE_CHECKING:
    from ..encoding import AnyEncoder

PEER_PREFIX = "st:"


def open_encoder(name: str, head: Literal["dense", "late"] | None = None) -> AnyEncoder | None:
    """The encoder that the command line names, or None for "none" (BM25 alone).

    "st:FOLDER" is any single-vector sentence-transformers folder; everything else goes, with the
    head that is wanted, to `load_encoder`.
    """
    if name == "none":
        return None
    if name.startswith(PEER_PREFIX):
        return SentenceTransformerEncoder(name.removeprefix(PEER_PREFIX))
    from ..encoders import load_encoder

    return load_encoder(name, head=head)


class SentenceTransformerEncoder:
    """A single-vector sentence-transformers model as an encoder of ours.

    Its own prompts, pooling and length apply; vectors are made unit length.
    Raises InputError when the folder is not there or the library cannot load it.
    """

    kind = "dense"

    def __init__(self, folder: str | Path, batch_size: int = 32) -> None:
        path = Path(folder)
        if not (path / "modules.json").is_file():
            raise InputError(f"{folder} is not a sentence-transformers folder (no modules.json)")
        try:
            from sentence_transformers import SentenceTransformer
        except ModuleNotFoundError:
            raise InputError(
                f"{folder} needs sentence-transformers: "
                "pip install 'mbert-retrieval[eval]' brings it"
            ) from None

        self.model = SentenceTransformer(str(path), local_files_only=True)
        self.name = f"{PEER_PREFIX}{folder}"
        self.fingerprint = fingerprint_of(path)
        self.dimension = len(self.model.encode(""))
        self.batch_size = batch_size

    def encode_queries(self, texts: list[str]) -> Packed:
        """One unit-norm float32 row a text."""
        return self._packed(self.model.encode_query(texts, **self._options()))

    def encode_documents(self, texts: list[str]) -> Packed:
        """One unit-norm float32 row a text."""
        return self._packed(self.model.encode_document(texts, **self._options()))

    def stream_documents(self, texts: Iterable[str]) -> Iterator[Packed]:
        """Chunks in the order of the texts; the library sorts by length inside each."""
        remaining = iter(texts)
        while chunk := list(islice(remaining, 32 * self.batch_size)):
            yield self.encode_documents(chunk)

    def _options(self) -> dict:
        return {
            "batch_size": self.batch_size,
            "normalize_embeddings": True,
            "convert_to_numpy": True,
            "show_progress_bar": False,
        }

    def _packed(self, rows: np.ndarray) -> Packed:
        return Packed.from_rows(np.asarray(rows, dtype=np.float32).reshape(-1, self.dimension))


def fingerprint_of(folder: Path) -> str:
    """Hex sha256 over the names and contents of a folder's files, hidden ones left out."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            digest.update(f"{name.as_posix()}\0{sha256_of(path)}\n".encode())
    return digest.hexdigest()
