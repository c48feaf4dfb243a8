"""Indexes from somebody else: every checksum is right, and any value may be hostile."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from mbert_retrieval.indexes.manifest import _checksum
from mbert_retrieval.indexes.store import row_checksum
from support.fuzz_indexes import build_commits, outside_of
from support.fuzzing import chance, record, trials
from support.hostile import TEXTS, dumps, hostile, mutate
from support.index_trial import FAILED, REFUSED
from support.trial_process import Outcome

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(7200)]


def edit_manifest(index: Path, random: Random) -> str:
    file = index / "manifest.json"
    document = json.loads(file.read_bytes())
    del document["checksum"]
    for _ in range(random.choice([1, 1, 2])):
        document = mutate(document, random)
    text = dumps(document)
    if isinstance(document, dict):
        try:
            document["checksum"] = _checksum(document)
            text = json.dumps(document)
        except (RecursionError, TypeError):  # cannot be written, so not with a right checksum
            pass
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    return text[:600]


def in_store(change: Callable[[sqlite3.Connection, Random], str]) -> Callable[[Path, Random], str]:
    def edit(index: Path, random: Random) -> str:
        with closing(sqlite3.connect(index / "store.sqlite", isolation_level=None)) as connection:
            try:
                return change(connection, random)[:600]
            except (sqlite3.Error, OverflowError, UnicodeEncodeError) as error:
                return f"refused by SQLite: {error}"  # such a value cannot be in a store

    return edit


def edit_row(connection: sqlite3.Connection, random: Random) -> str:
    """Change a value of a row, JSON or not, and its checksum."""
    table = random.choice(["meta", "meta", "segments", "segments", "passages", "files"])
    rows = connection.execute(f"SELECT rowid, * FROM {table}").fetchall()
    if not rows:
        return "no rows"
    rowid, *values = random.choice(rows)
    names = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
    row = dict(zip(names, values, strict=True))
    name = random.choice([name for name in names if name != "checksum"])
    try:
        row[name] = dumps(mutate(json.loads(row[name]), random))
    except (TypeError, ValueError):
        row[name] = hostile(random)
        if isinstance(row[name], (list, dict)):
            row[name] = dumps(row[name])
    if random.random() < 0.1 and row[name] is not None:
        row[name] = str(row[name]).encode("utf-8", "surrogatepass") + random.choice([b"", b"\xff"])
    columns = dict(row)
    del columns["checksum"]
    if table == "passages":
        columns.pop("key")
        order = ["id", "path", "source", "start_line", "end_line", "metadata", "content_sha256"]
        columns = {name: columns[name] for name in [*order, "title", "text"]}
    try:
        row["checksum"] = row_checksum(*columns.values())
    except TypeError:  # bytes have no checksum
        row["checksum"] = ""
    assignments = ", ".join(f"{name} = ?" for name in row)
    connection.execute(f"UPDATE {table} SET {assignments} WHERE rowid = ?", [*row.values(), rowid])
    return f"{table}.{name} = {str(row[name])[:300]!r}"


def edit_tombstones(connection: sqlite3.Connection, random: Random) -> str:
    known = [key for (key,) in connection.execute("SELECT key FROM passages")] or [1]
    keys = [random.choice([*known, -1, 0, 2**62, max(known) + 1]) for _ in range(3)]
    for key in keys:
        connection.execute("REPLACE INTO tombstones VALUES (?, ?)", (key, random.choice(TEXTS[:9])))
    return f"tombstones {keys}"


ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x FROM c)"
SCHEMA_CHANGES = [
    f"CREATE VIEW other AS {ENDLESS} SELECT x FROM c",
    f"DROP TABLE {{t}}; CREATE VIEW {{t}} AS {ENDLESS} SELECT x name, x number, x path FROM c",
    "CREATE TRIGGER evil AFTER INSERT ON {t} BEGIN DELETE FROM {t}; END",
    "CREATE TRIGGER evil BEFORE DELETE ON passages BEGIN SELECT randomblob(900000000); END",
    "ALTER TABLE {t} ADD COLUMN extra TEXT DEFAULT 'x'",
    "ALTER TABLE {t} ADD COLUMN extra GENERATED ALWAYS AS (randomblob(100000)) VIRTUAL",
    "ALTER TABLE {t} RENAME TO other",
    "DROP TABLE {t}",
    "DROP INDEX passages_by_path",
    "CREATE INDEX evil ON passages (hex(zeroblob(1000000)))",
    "CREATE TABLE other AS SELECT * FROM {t}",
    "DROP TABLE IF EXISTS lexical",
    "CREATE VIRTUAL TABLE other USING fts5 (a)",
    "DELETE FROM lexical_data",
    "UPDATE lexical_data SET block = randomblob(length(block))",
    "UPDATE lexical_data SET block = zeroblob(900000) WHERE id > 1",
    "UPDATE lexical_config SET v = 999",
    "UPDATE lexical_docsize SET sz = randomblob(9)",
    "PRAGMA user_version = 9; PRAGMA application_id = 7",
    "PRAGMA journal_mode = DELETE",
    "PRAGMA encoding = 'UTF-16'; VACUUM",
    "PRAGMA page_size = 512; PRAGMA journal_mode = DELETE; VACUUM",
    "DELETE FROM {t}",
    "INSERT INTO passages SELECT key + 100000, id || '2', path, source, start_line, end_line,"
    " metadata, content_sha256, checksum, title, text FROM passages",
]


def edit_schema(connection: sqlite3.Connection, random: Random) -> str:
    table = random.choice(["meta", "passages", "segments", "tombstones", "files"])
    statement = random.choice(SCHEMA_CHANGES).format(t=table)
    connection.executescript(statement)
    return statement


def edit_segment_file(index: Path, random: Random) -> str:
    """Damage a file of a segment, and let the store record what it now is."""
    files = sorted(path for path in index.glob("segments/*/**/*") if path.is_file())
    if not files:
        return "no files"
    file = random.choice(files)
    content = bytearray(file.read_bytes())
    if file.suffix == ".json":
        content[:] = dumps(mutate(json.loads(content), random)).encode("utf-8", "surrogatepass")
    elif random.random() < 0.2:
        del content[random.randrange(len(content) + 1) :]
    else:
        for _ in range(random.choice([1, 2, 8])):
            limit = random.choice([16, 128, 1024, len(content), len(content)])
            start = random.randrange(min(limit, len(content)) or 1)
            size = random.choice([1, 2, 4, 8])
            value = random.choice([0, 1, 2**7, 2**15, 2**31 - 1, 2**31, 2**63 - 1, 2**64 - 1])
            content[start : start + size] = (value % 2 ** (8 * size)).to_bytes(size, "little")
    file.unlink()
    file.write_bytes(content)
    number = int(file.relative_to(index).parts[1])
    name = "/".join(file.relative_to(index).parts[2:])
    with closing(sqlite3.connect(index / "store.sqlite", isolation_level=None)) as connection:
        row = connection.execute("SELECT * FROM segments WHERE number = ?", (number,)).fetchone()
        assert row is not None
        *columns, recorded, _ = row
        facts = json.loads(recorded)
        facts[name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        columns = [*columns, json.dumps(facts)]
        connection.execute(
            "REPLACE INTO segments VALUES (?, ?, ?, ?, ?, ?, ?)",
            [*columns, row_checksum(*columns)],
        )
    return f"{name}, resealed"


EDITS: dict[str, tuple[Callable[[Path, Random], str], int]] = {
    "manifest": (edit_manifest, 25),
    "rows": (in_store(edit_row), 40),
    "tombstones": (in_store(edit_tombstones), 5),
    "schema": (in_store(edit_schema), 12),
    "files of segments": (edit_segment_file, 60),
}
INDEXES = ["BM25", "flat", "plaid", "faiss HNSW8,Flat", "faiss IVF2,PQ4x4"]


def judge(outcome: Outcome) -> tuple[str, str]:
    if outcome.kind != "returned":
        return outcome.kind, f"{outcome.kind}: {outcome.value}"
    results = outcome.value
    if failed := {name: said for name, (kind, said) in results.items() if kind == FAILED}:
        return "traceback", str(failed)
    if any(kind == REFUSED for kind, _ in results.values()):
        return "refused", ""
    return "answers", ""


@pytest.mark.parametrize("edited", EDITS)
def test_hostile_values(area, process, monkeypatch, edited):
    edit, usual = EDITS[edited]
    index = area / "index"
    problems = []
    for legs in INDEXES:
        if edited.startswith("files") and legs == "BM25":
            continue
        monkeypatch.setenv("XDG_STATE_HOME", str(area / "state"))
        commits = area / legs
        newest = build_commits(commits, legs, monkeypatch)[-1]
        before = outside_of(index)
        for trial in range(trials(usual)):
            random = chance(f"hostile {edited} {legs}", trial)
            shutil.rmtree(index, ignore_errors=True)
            shutil.copytree(newest, index)
            what = edit(index, random)
            outcome = process.run("support.index_trial:use", str(index))
            name, problem = judge(outcome)
            assert outside_of(index) == before, f"trial {trial} ({what}) wrote outside"
            record(f"right checksums: {edited}", name)
            if problem:
                problems.append(f"{legs}, trial {trial} ({what}): {problem}")
    assert not problems, "\n".join([f"{len(problems)} problems", *problems])
