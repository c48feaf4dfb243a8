"""The legs of an index, from encoders and what was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..indexes.manifest import DEFAULT_KINDS, EncoderIdentity, Leg
from ..protocols import DocumentEncoder

# an engine's settings -> the kind that takes them
SETTINGS = {"nbits": "plaid", "centroids": "plaid", "factory": "faiss"}

Encoders = DocumentEncoder | Sequence[DocumentEncoder] | None
Kinds = str | Mapping[str, str] | None


def encoders_of(given: Encoders) -> list[DocumentEncoder]:
    """As a list. Raises InputError for two encoders of a kind."""
    if given is None:
        return []
    encoders = list(given) if isinstance(given, Sequence) else [given]
    if len({encoder.kind for encoder in encoders}) < len(encoders):
        raise InputError("an index takes one late-interaction and one dense encoder at most")
    return encoders


def legs_of(
    encoders: Sequence[DocumentEncoder], kind: Kinds, engine: Mapping[str, Any]
) -> list[Leg]:
    """A leg for each encoder; see `Index.create`. Raises InputError for engine settings that no leg
    takes."""
    legs = []
    for encoder in encoders:
        chosen = kind if isinstance(kind, str) else (kind or {}).get(encoder.kind)
        name = chosen or DEFAULT_KINDS[encoder.kind]
        settings = {key: value for key, value in engine.items() if SETTINGS.get(key) == name}
        legs.append(Leg(_identity(encoder), name, settings))
    for key in engine:
        if key not in SETTINGS:
            raise InputError(f"unknown setting {key!r}: use one of {', '.join(SETTINGS)}")
        if all(key not in leg.settings for leg in legs):
            raise InputError(f"{key} is a setting of kind {SETTINGS[key]}, which is not used here")
    return legs


def listed(names: Sequence[str]) -> str:
    """For messages."""
    return " and ".join(names) or "no encoder"


def shown(settings: Mapping[str, Any]) -> str:
    """An engine's settings, for messages."""
    return ", ".join(f"{key} {value}" for key, value in settings.items()) or "automatic settings"


def _identity(encoder: DocumentEncoder) -> EncoderIdentity:
    name = full_name(encoder.name)
    options = dict(getattr(encoder, "options", {}))  # encoders of others have none
    return EncoderIdentity(name, encoder.fingerprint, encoder.kind, encoder.dimension, options)


def full_name(name: str) -> str:
    """A folder's whole path, so that it is found from anywhere; other names as they are."""
    from ..encoders import SHIPPED

    return str(Path(name).resolve()) if name not in SHIPPED and Path(name).is_dir() else name
