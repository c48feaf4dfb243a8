"""`manifest.json`: what an index is. Written once, last, when the folder is created.

It holds nothing that a commit changes (see `store` for why), so a reader never sees it half-written
and a commit never touches it.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import InputError
from .durable import write_atomically

FILE = "manifest.json"
FORMAT = "mbert-retrieval index"
VERSION = 1
KINDS = ("flat", "faiss")  # `segments.KINDS` are their modules


@dataclass(frozen=True)
class EncoderIdentity:
    """Which encoder made the vectors.

    name: as it was asked for ("nano", a folder, a hub name); fingerprint: sha256 hex of it;
    kind: "dense" (one vector a passage) or "late" (one a token); dimension: of each vector.
    """

    name: str
    fingerprint: str
    kind: str
    dimension: int


@dataclass(frozen=True)
class Manifest:
    """index_id: random, also inside `store.sqlite`, so that files of two indexes are not mixed.
    kind: the vector engine, one of `KINDS`, or None for an index without vectors."""

    index_id: str
    created: str
    created_by: str
    encoder: EncoderIdentity | None
    kind: str | None
    lexical: bool


def new_manifest(encoder: EncoderIdentity | None, kind: str | None, lexical: bool) -> Manifest:
    """Raises InputError when the parts do not fit together."""
    if kind is None:
        if not lexical:
            raise InputError("an index needs vectors or a lexical part: neither was asked for")
        encoder = None
    elif kind not in KINDS:
        raise InputError(f"unknown index kind {kind!r}: use one of {', '.join(KINDS)}")
    elif encoder is None:
        raise InputError(f"an index of kind {kind!r} needs an encoder")
    elif encoder.kind not in ("dense", "late") or encoder.dimension < 1:
        raise InputError(
            f"encoder {encoder.name!r} must be 'dense' or 'late' and have a positive dimension, "
            f"it is {encoder.kind!r} with dimension {encoder.dimension}"
        )
    elif kind == "faiss" and encoder.kind != "dense":
        raise InputError(
            f"an index of kind 'faiss' holds one vector a passage, and encoder {encoder.name!r} is "
            "late-interaction: use kind 'flat', or a dense encoder"
        )
    return Manifest(
        index_id=uuid.uuid4().hex,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        created_by=f"mbert-retrieval {__version__}",
        encoder=encoder,
        kind=kind,
        lexical=lexical,
    )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    document = {"format": FORMAT, "version": VERSION, **asdict(manifest)}
    document["checksum"] = _checksum(document)
    write_atomically(folder / FILE, json.dumps(document, indent=2).encode())


def read_manifest(folder: Path) -> Manifest:
    """Raises InputError when `folder` is not an index, is damaged, or is too new to be read."""
    file = folder / FILE
    try:
        content = file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        what = "there is no such folder" if not folder.exists() else f"it has no {FILE}"
        raise InputError(f"{folder} is not an index: {what}") from None
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from None
    try:
        document = json.loads(content)
        if document["format"] != FORMAT:
            raise InputError(f"{folder} is not an index: {file} is of another program")
        if document["version"] > VERSION:
            raise InputError(
                f"{folder} has format version {document['version']} and this program reads up to "
                f"{VERSION}: upgrade mbert-retrieval (it was made by {document['created_by']})"
            )
        if document.pop("checksum") != _checksum(document):
            raise ValueError
        del document["format"], document["version"]
        encoder = document.pop("encoder")
        return Manifest(encoder=EncoderIdentity(**encoder) if encoder else None, **document)
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{file} is damaged: restore it, or build the index again") from None


def _checksum(document: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
