"""An index as parquet: `passages.parquet`, and `vectors_late.parquet`, `vectors_dense.parquet`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..packed import Packed
from .manifest import Leg
from .snapshot import Snapshot

ROWS = 1024  # passages in memory, and in a row group
COLUMNS = ("id", "title", "text", "path", "start_line", "end_line", "metadata")


def export(snapshot: Snapshot, legs: tuple[Leg, ...], folder: Path, replace: bool) -> list[Path]:
    """Write the files into `folder`, made if it is not there; their paths.

    Passages have the columns of COLUMNS (metadata as JSON). Vectors: "id" and "vectors", a list of
    float32 vectors (dense: "vector"), as the index remembers them. Rows are in the same order.
    Raises InputError when a file is there already, unless `replace`; each is written whole or not.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise InputError("export needs pyarrow: pip install pyarrow") from None
    names = ["passages", *(f"vectors_{leg.name}" for leg in legs)]
    files = [folder / f"{name}.parquet" for name in names]
    there = [file for file in files if file.exists()]
    if there and not replace:
        raise InputError(f"{there[0]} is there already: name another folder, or use --force")
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

    unfinished = file.with_name(file.name + ".new")
    try:
        with pq.ParquetWriter(unfinished, schema) as writer:
            for columns in batches:
                writer.write_table(pa.table(columns, schema=schema))
        os.replace(unfinished, file)
    finally:
        unfinished.unlink(missing_ok=True)


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
        yield dict(zip(COLUMNS, map(list, zip(*batch, strict=True)), strict=True))


def _vectors(snapshot: Snapshot, leg: Leg) -> Iterator[dict[str, Any]]:
    import pyarrow as pa

    for segment, live in zip(snapshot.segments, snapshot.live, strict=True):
        for first in range(0, len(live), ROWS):
            kept = np.flatnonzero(live[first : first + ROWS])
            if not kept.size:
                continue
            last = first + int(kept[-1]) + 1
            vectors: Packed = segment.engines[leg.name].read(first, last).select(kept)
            flat = pa.array(np.ascontiguousarray(vectors.values).ravel(), pa.float32())
            column: Any = pa.FixedSizeListArray.from_arrays(flat, leg.encoder.dimension)
            name = "vector"
            if leg.name == "late":
                name = "vectors"
                column = pa.ListArray.from_arrays(
                    pa.array(vectors.offsets.astype(np.int32)), column
                )
            yield {"id": snapshot.ids(segment.keys[first + kept]), name: column}
