"""`manifest.json`: what an index is. Written once, last, when the folder is created.

It holds nothing that a commit changes (see `store` for why), so a reader never sees it half-written
and a commit never touches it.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import InputError
from .durable import write_atomically

FILE = "manifest.json"
FORMAT = "mbert-retrieval index"
VERSION = 3
KINDS = ("plaid", "flat", "faiss")  # `segments.KINDS` are their modules
LEGS = ("late", "dense")
DEFAULT_KINDS = {"late": "plaid", "dense": "faiss"}


@dataclass(frozen=True)
class EncoderIdentity:
    """Which encoder made the vectors.

    name: as it was asked for ("nano", a folder, a hub name); fingerprint: sha256 hex of it;
    kind: "dense" (one vector a passage) or "late" (one a token); dimension: of each vector.
    options: what it was loaded with beside its name, JSON, such as {"document_length": 8192}.
    """

    name: str
    fingerprint: str
    kind: str
    dimension: int
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Leg:
    """One kind of vectors in an index, and what searches them.

    kind: the engine, one of `KINDS`; settings: the engine's own, JSON, such as {"nbits": 4}.
    """

    encoder: EncoderIdentity
    kind: str
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The encoder's kind, "late" or "dense"."""
        return self.encoder.kind


@dataclass(frozen=True)
class Manifest:
    """index_id: random, also inside `store.sqlite`, so that files of two indexes are not mixed.
    legs: at most one of each name; none in an index without vectors."""

    index_id: str
    created: str
    created_by: str
    legs: tuple[Leg, ...]
    lexical: bool


def new_manifest(legs: Sequence[Leg], lexical: bool) -> Manifest:
    """Raises InputError when the parts do not fit together."""
    if not legs and not lexical:
        raise InputError("an index needs vectors or a lexical part: neither was asked for")
    for leg in legs:
        _check_leg(leg)
    for name, count in Counter(leg.name for leg in legs).items():
        if count > 1:
            raise InputError(f"an index takes one {name} encoder, not {count}")
    return Manifest(
        index_id=uuid.uuid4().hex,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        created_by=f"mbert-retrieval {__version__}",
        legs=tuple(legs),
        lexical=lexical,
    )


def _check_leg(leg: Leg) -> None:
    encoder = leg.encoder
    if leg.kind not in KINDS:
        raise InputError(f"unknown index kind {leg.kind!r}: use one of {', '.join(KINDS)}")
    if encoder.kind not in LEGS or encoder.dimension < 1:
        raise InputError(
            f"encoder {encoder.name!r} must be 'dense' or 'late' and have a positive dimension, "
            f"it is {encoder.kind!r} with dimension {encoder.dimension}"
        )
    if leg.kind == "faiss" and leg.name != "dense":
        raise InputError(
            f"an index of kind 'faiss' holds one vector a passage, and encoder {encoder.name!r} is "
            "late-interaction: use kind 'plaid' or 'flat', or a dense encoder"
        )
    if leg.kind == "plaid" and leg.name != "late":
        raise InputError(
            f"an index of kind 'plaid' holds many vectors a passage, and encoder {encoder.name!r} "
            "is dense: use kind 'faiss' or 'flat', or a late-interaction encoder"
        )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    document = {"format": FORMAT, "version": VERSION, **asdict(manifest)}
    document["checksum"] = _checksum(document)
    write_atomically(folder / FILE, json.dumps(document, indent=2).encode())


def read_manifest(folder: Path) -> Manifest:
    """Raises InputError when `folder` is not an index, is damaged, or is of another format."""
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
        if document["version"] < VERSION:
            raise InputError(
                f"{folder} has format version {document['version']} and this program reads "
                f"{VERSION}: build the index again (it was made by {document['created_by']})"
            )
        if document.pop("checksum") != _checksum(document):
            raise ValueError
        del document["format"], document["version"]
        legs = [
            Leg(EncoderIdentity(**leg["encoder"]), leg["kind"], leg["settings"])
            for leg in document.pop("legs")
        ]
        return Manifest(legs=tuple(legs), **document)
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{file} is damaged: restore it, or build the index again") from None


def _checksum(document: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
