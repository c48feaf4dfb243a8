"""The fingerprint of an encoder, and a cache of it, so that weights are hashed only once."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..backbone.config import ModernBertConfig
from ..files import is_settled, write_atomically
from .base import BaseEncoder
from .spec import DenseHeadSpec, EncoderSpec, LateHeadSpec


def head_settings(head: DenseHeadSpec | LateHeadSpec) -> dict[str, Any]:
    """Return what decides the head's vectors besides its weights; usual values are left out."""
    settings: dict[str, Any] = {
        "kind": head.kind,
        "dimension": head.dimension,
        "skiplist": list(head.skiplist),
        "poolings": list(head.poolings) if isinstance(head, DenseHeadSpec) else [],
    }
    if isinstance(head, DenseHeadSpec):
        if not head.include_prompt:
            settings["include_prompt"] = False
        if not head.normalize:
            settings["normalize"] = False
    activations = [(p.activation, p.use_residual) for p in head.projections]
    if any(activation != ("Identity", False) for activation in activations):
        settings["activations"] = activations
    return settings


def describe(
    head: DenseHeadSpec | LateHeadSpec, config: ModernBertConfig, encoder: BaseEncoder
) -> bytes:
    """Return everything that decides the vectors except the weights, as bytes."""
    settings = head_settings(head) | {
        "query": asdict(encoder.query),
        "document": asdict(encoder.document),
        "pool_factor": encoder.pool_factor,
        "config": asdict(config),
    }
    return json.dumps(settings, sort_keys=True).encode() + encoder.tokenizer.to_json().encode()


def fingerprint(description: bytes, tensors: Iterable[tuple[str, np.ndarray]]) -> str:
    """Return the hexadecimal sha256 of a description and of named float32 tensors."""
    digest = hashlib.sha256(description)
    for name, array in tensors:
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def stored_fingerprint(description: bytes, spec: EncoderSpec) -> str:
    """Return the fingerprint of an encoder whose weights are those of its folder.

    It is cached in the user's cache folder under the description and the identity of the weight
    files (path, size, times, inode), so that the weights are hashed only once. Raises what
    `EncoderSpec.weights` raises.
    """
    return cached_digest(
        description, spec.weight_files, lambda: fingerprint(description, spec.tensors())
    )


def cached_digest(description: bytes, files: list[Path], compute: Callable[[], str]) -> str:
    """Return `compute()`, a sha256, cached for the description and the files' present state."""
    states = [_state(path) for path in files]
    key = hashlib.sha256(repr(states).encode() + description).hexdigest()
    folder = cache_folder()
    if folder is not None:
        with suppress(OSError, ValueError):
            stored = (folder / key).read_text(encoding="ascii")
            if len(bytes.fromhex(stored)) == 32:
                return stored
    value = compute()
    newest = max((time for *_, modified, changed in states for time in (modified, changed)))
    if folder is not None and is_settled(newest) and states == [_state(path) for path in files]:
        _keep(folder, key, value)
    return value


def cache_folder() -> Path | None:
    """Return $XDG_CACHE_HOME/mbert-retrieval/fingerprints, by default under ~/.cache.

    None when there is no home folder.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):  # the XDG specification has relative ones ignored
        base = os.path.expanduser("~/.cache")
    return Path(base) / "mbert-retrieval" / "fingerprints" if os.path.isabs(base) else None


def _state(path: Path) -> tuple[str, int, int, int, int, int]:
    """Return a file's identity, which changes with its contents unless the clock was set back."""
    stat = path.stat()
    own = (stat.st_size, stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns)
    return (str(path.resolve()), *own)


def _keep(folder: Path, key: str, value: str) -> None:
    """Write the entry; a folder that cannot be written is not an error."""
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / key, value.encode("ascii"))
