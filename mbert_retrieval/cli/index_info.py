"""What `mbert-index info` shows."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..native import kernels
from ..sync.provenance import Provenance
from .console import one_line

if TYPE_CHECKING:
    from ..indexes import IndexFolder


def index_facts(folder: IndexFolder) -> dict[str, Any]:
    """Return what the index holds, and its size on disk, as JSON."""
    facts = folder.info()
    facts["bytes_by_part"] = _bytes_by_part(folder.path)
    facts["trusted"] = folder.is_trusted
    facts["kernels"] = {"tier": kernels.TIER, "allowed": kernels.TIERS.split()}
    facts["bytes"] = sum(facts["bytes_by_part"].values())
    return facts


def print_facts(facts: dict[str, Any], folder: IndexFolder) -> None:
    """Print what `index_facts` returns, one fact per line."""
    lines = {"index": facts["path"], "passages": f"{facts['passages']:,}"}
    lines["segments"] = f"{facts['segments']:,}, {facts['tombstones']:,} deleted passages in them"
    for name, leg in facts["legs"].items():
        engines = Counter(_engine_text(engine) for engine in leg["engines"])
        lines[name] = (
            f"{leg['encoder']['name']}, {leg['vectors']:,} vectors of "
            f"{leg['encoder']['dimension']} dimensions"
            + (f", {leg['bytes_per_vector']} bytes each" if leg["vectors"] else "")
        )
        used = ", ".join(f"{count} x {engine}" for engine, count in engines.items())
        lines[f"{name} kind"] = leg["kind"] + (f": {used}" if used else "")
    sizes = ", ".join(f"{part} {size:,}" for part, size in facts["bytes_by_part"].items())
    lines |= {
        "trusted": "yes"
        if folder.is_trusted
        else "no: it is only searched (see mbert-index trust)",
        "lexical": "BM25" if facts["lexical"] else "none",
        "created": f"{facts['created']} by {facts['created_by']}",
        "bytes": f"{facts['bytes']:,} ({sizes})",
        "kernels": f"{kernels.TIER} (this processor allows {kernels.TIERS})",
        "sources": ", ".join(map(str, Provenance.of(folder).paths)) or "not recorded",
    }
    for name, value in lines.items():
        print(f"{name:<10} {one_line(value)}")


def recorded_wishes(folder: IndexFolder) -> str:
    """Return what a trusted index makes the commands read and load, in a few words."""
    sources = ", ".join(map(str, Provenance.of(folder).paths)) or "no sources"
    encoders = dict.fromkeys(leg.encoder.name for leg in folder.legs.values())
    return one_line(f"it reads {sources} and loads {', '.join(encoders) or 'no encoder'}")


def _engine_text(facts: dict[str, Any]) -> str:
    rest = ", ".join(f"{key} {value}" for key, value in facts.items() if key != "engine")
    return facts["engine"] + (f" ({rest})" if rest else "")


def _bytes_by_part(path: Path) -> dict[str, int]:
    """Return the bytes of the vectors, of the passages with BM25, and of the rest.

    A file with several hard links counts once.
    """
    sizes = {"vectors": 0, "passages": 0, "other": 0}
    seen: set[tuple[int, int]] = set()
    for file in path.rglob("*"):
        top = file.relative_to(path).parts[0]
        if not file.is_file() or top.endswith("-shm"):  # SQLite's, exists while it is open
            continue
        part = "passages" if top.startswith("store.sqlite") else "other"
        with suppress(FileNotFoundError):  # a writer may remove old segments now
            status = file.stat()
            if (status.st_dev, status.st_ino) not in seen:
                seen.add((status.st_dev, status.st_ino))
                sizes["vectors" if top == "segments" else part] += status.st_size
    return sizes
