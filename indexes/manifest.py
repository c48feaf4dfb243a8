"""`manifest.json`: the encoders and engines of an index. Written once, last, by `create`.

It contains nothing that a commit changes (see `store` for why), so a commit never rewrites it.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import __version__
from ..errors import BUILD_AGAIN, InputError
from ..files import write_atomically
from .recorded import parse_json

FILE = "manifest.json"
FORMAT = "mbert-retrieval index"
VERSION = 4
ENGINES = ("plaid", "flat", "faiss")  # `segments.ENGINE_MODULES` are their modules
LEGS = ("late", "dense")
SETTINGS: dict[str, dict[str, type]] = {  # of each engine, with their types
    "plaid": {"nbits": int, "centroids": int},
    "flat": {},
    "faiss": {"factory": str},
}
MAX_DIMENSION = 2**20
MAX_BYTES = 2**20  # of the file
DEFAULT_ENGINES = {"late": "plaid", "dense": "faiss"}


@dataclass(frozen=True)
class EncoderIdentity:
    """Which encoder made the vectors of a leg.

    Args:
        name: The name by which it was loaded: "nano", a folder, or a repository of the hub.
        fingerprint: SHA-256, in hexadecimal, of everything that decides its vectors.
        kind: "dense" (one vector per passage) or "late" (one vector per token).
        dimension: Components per vector.
        options: Other options with which it was loaded, JSON, such as {"document_length": 8192}.

    Example:
        >>> EncoderIdentity("toy", "00ff", "dense", 8).kind
        'dense'
    """

    name: str
    fingerprint: str
    kind: str
    dimension: int
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Leg:
    """The vectors of one encoder in an index, and the engine that searches them.

    Args:
        encoder: The encoder that makes the vectors.
        engine: "plaid" (compressed, for late interaction), "faiss" (for dense vectors), or "flat"
            (exact, for either).
        settings: The engine's own settings, JSON: "nbits" and "centroids" of plaid, "factory" of
            faiss. What is left out is chosen by the size of the index.

    Example:
        >>> Leg(EncoderIdentity("toy", "00ff", "late", 8), "plaid", {"nbits": 4}).name
        'late'
    """

    encoder: EncoderIdentity
    engine: str
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The encoder's kind, "late" or "dense"."""
        return self.encoder.kind

    def to_json(self) -> dict[str, Any]:
        """Return the leg as `manifest.json` stores it, with the engine under "kind"."""
        return {"encoder": asdict(self.encoder), "kind": self.engine, "settings": self.settings}

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Leg:
        """Return the leg that `to_json` stored. Raises ValueError, KeyError or TypeError for
        anything else."""
        leg = cls(EncoderIdentity(**stored["encoder"]), stored["kind"], stored["settings"])
        encoder = leg.encoder
        texts = (encoder.name, encoder.fingerprint, encoder.kind, leg.engine)
        if not all(isinstance(text, str) for text in texts):
            raise TypeError
        if not (isinstance(encoder.options, dict) and isinstance(leg.settings, dict)):
            raise TypeError
        if type(encoder.dimension) is not int or encoder.dimension > MAX_DIMENSION:
            raise ValueError
        _check_leg(leg)
        known = SETTINGS[leg.engine]
        for name, value in leg.settings.items():
            if type(value) is not known[name]:
                raise TypeError
        return leg


@dataclass(frozen=True)
class Manifest:
    """The content of `manifest.json`.

    index_id: random, also in `store.sqlite`, so that files of two indexes cannot be mixed up.
    legs: at most one of each name; none in an index without vectors.
    """

    index_id: str
    created: str
    created_by: str
    legs: tuple[Leg, ...]
    lexical: bool


def new_manifest(legs: Sequence[Leg], lexical: bool) -> Manifest:
    """Return the manifest of a new index. Raises InputError if the legs do not fit together."""
    for leg in legs:
        _check_leg(leg)
    _check_together(legs, lexical)
    return Manifest(
        index_id=uuid.uuid4().hex,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        created_by=f"mbert-retrieval {__version__}",
        legs=tuple(legs),
        lexical=lexical,
    )


def _check_together(legs: Sequence[Leg], lexical: bool) -> None:
    if not legs and not lexical:
        raise InputError(
            "an index needs vectors or a lexical part, and this one would have neither"
        )
    for name, count in Counter(leg.name for leg in legs).items():
        if count > 1:
            raise InputError(f"an index takes one {name} encoder, not {count}")


def _check_leg(leg: Leg) -> None:
    encoder = leg.encoder
    if leg.engine not in ENGINES:
        raise InputError(f"unknown index kind {leg.engine!r}: use one of {', '.join(ENGINES)}")
    if encoder.kind not in LEGS or encoder.dimension < 1:
        raise InputError(
            f"encoder {encoder.name!r} must be 'dense' or 'late' with a positive dimension, not "
            f"{encoder.kind!r} with dimension {encoder.dimension}"
        )
    if leg.engine == "faiss" and leg.name != "dense":
        raise InputError(
            f"an index of kind 'faiss' stores one vector per passage, but encoder {encoder.name!r} "
            "is late-interaction: use kind 'plaid' or 'flat', or a dense encoder"
        )
    if leg.engine == "plaid" and leg.name != "late":
        raise InputError(
            f"an index of kind 'plaid' stores many vectors per passage, but encoder "
            f"{encoder.name!r} is dense: use kind 'faiss' or 'flat', or a late-interaction encoder"
        )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest.json` atomically."""
    legs = [leg.to_json() for leg in manifest.legs]
    document = {"format": FORMAT, "version": VERSION, **asdict(manifest), "legs": legs}
    document["checksum"] = _checksum(document)
    write_atomically(folder / FILE, json.dumps(document, indent=2).encode())


def read_manifest(folder: Path) -> Manifest:
    """Read `manifest.json`. Raises InputError if `folder` is not an index, or the
    manifest is damaged or has another format version."""
    file = folder / FILE
    try:
        with open(file, "rb") as opened:
            content = opened.read(MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError):
        what = "there is no such folder" if not folder.exists() else f"it has no {FILE}"
        raise InputError(f"{folder} is not an index: {what}") from None
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from None
    try:
        return _parse(folder, content)
    except InputError:
        raise
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{file} is damaged: restore it, or {BUILD_AGAIN}") from None


def _parse(folder: Path, content: bytes) -> Manifest:
    """Return the manifest. Raises ValueError, KeyError, TypeError or AttributeError where it is not
    one that this program writes."""
    if len(content) > MAX_BYTES:
        raise ValueError
    document: dict[str, Any] = parse_json(content)
    if document["format"] != FORMAT:
        raise InputError(f"{folder} is not an index: its {FILE} was written by another program")
    version, made_by = document["version"], f"it was made by {document['created_by']}"
    if type(version) is not int:
        raise TypeError
    if version > VERSION:
        raise InputError(
            f"{folder} has format version {version} and this program reads up to {VERSION}: "
            f"upgrade mbert-retrieval ({made_by})"
        )
    if version < VERSION:
        raise InputError(
            f"{folder} has format version {version} and this program reads {VERSION}: "
            f"{BUILD_AGAIN} ({made_by})"
        )
    if document.pop("checksum") != _checksum(document):
        raise ValueError
    del document["format"], document["version"]
    manifest = Manifest(legs=tuple(map(Leg.from_json, document.pop("legs"))), **document)
    if not re.fullmatch(r"[0-9a-f]{32}", manifest.index_id):
        raise ValueError
    texts = isinstance(manifest.created, str) and isinstance(manifest.created_by, str)
    if not (texts and isinstance(manifest.lexical, bool)):
        raise TypeError
    _check_together(manifest.legs, manifest.lexical)
    return manifest


def _checksum(document: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
