"""Export an index as Parquet files: passages, and the vectors of each leg."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import replacing
from ..packed import Packed
from .manifest import Leg
from .snapshot import Snapshot
from .validation import row_passage

ROWS = 1024  # passages in memory and per row group
COLUMNS = ("id", "title", "text", "path", "start_line", "end_line", "metadata")


def export(snapshot: Snapshot, legs: tuple[Leg, ...], folder: Path, replace: bool) -> list[Path]:
    """Write `passages.parquet`, and `vectors_late.parquet` and `vectors_dense.parquet` as present.

    Passages have the columns COLUMNS (metadata as JSON). Vectors have "id" and "vectors", a list of
    float32 vectors (dense: "vector"), decompressed if necessary. All files have the same order of
    rows. Each file is replaced atomically.

    Args:
        snapshot: The commit to export.
        legs: The legs of the index.
        folder: Where to write; it is made if necessary.
        replace: Replace files that exist.

    Returns:
        The paths of the files.

    Raises:
        InputError: If pyarrow is not installed, a file exists, or a file cannot be written.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise InputError("export needs pyarrow: pip install pyarrow") from None
    names = ["passages", *(f"vectors_{leg.name}" for leg in legs)]
    files = [folder / f"{name}.parquet" for name in names]
    existing = [file for file in files if file.exists()]
    if existing and not replace:
        raise InputError(f"{existing[0]} exists already: name another folder, or use --force")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write(files[0], _passage_schema(), _passages(snapshot))
        for leg, file in zip(legs, files[1:], strict=True):
            _write(file, _vector_schema(leg), _vectors(snapshot, leg))
    except OSError as error:
        raise InputError(f"cannot write to {folder}: {error.strerror or error}") from None
    return files


def _write(file: Path, schema: Any, batches: Iterator[dict[str, Any]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with replacing(file) as output, pq.ParquetWriter(output, schema) as writer:
        for columns in batches:
            writer.write_table(pa.table(columns, schema=schema))


def _passage_schema() -> Any:
    import pyarrow as pa

    numbers = ("start_line", "end_line")
    return pa.schema([(name, pa.int64() if name in numbers else pa.string()) for name in COLUMNS])


def _vector_schema(leg: Leg) -> Any:
    import pyarrow as pa

    vector = pa.list_(pa.float32(), leg.encoder.dimension)
    if leg.name == "dense":
        return pa.schema([("id", pa.string()), ("vector", vector)])
    return pa.schema([("id", pa.string()), ("vectors", pa.list_(vector))])


def _passages(snapshot: Snapshot) -> Iterator[dict[str, Any]]:
    select = f"SELECT {', '.join(COLUMNS)} FROM passages ORDER BY key"
    rows = snapshot.connection.execute(select)
    while batch := rows.fetchmany(ROWS):
        for id, title, text, path, start, end, metadata in batch:
            row_passage(id, path, start, end, metadata, title, text)  # is refused if it is damaged
        yield dict(zip(COLUMNS, map(list, zip(*batch, strict=True)), strict=True))


def _vectors(snapshot: Snapshot, leg: Leg) -> Iterator[dict[str, Any]]:
    import pyarrow as pa

    for segment, live in zip(snapshot.segments, snapshot.live, strict=True):
        for first in range(0, len(live), ROWS):
            rows = np.flatnonzero(live[first : first + ROWS])
            if not rows.size:
                continue
            last = first + int(rows[-1]) + 1
            vectors: Packed = segment.vectors[leg.name].read(first, last).select(rows)
            flat = pa.array(np.ascontiguousarray(vectors.values).ravel(), pa.float32())
            column: Any = pa.FixedSizeListArray.from_arrays(flat, leg.encoder.dimension)
            name = "vector"
            if leg.name == "late":
                name = "vectors"
                column = pa.ListArray.from_arrays(
                    pa.array(vectors.offsets.astype(np.int32)), column
                )
            yield {"id": snapshot.ids(segment.keys[first + rows]), name: column}
