"""Bytes of every file of every engine are damaged: right answers, or one clear error."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from random import Random

import pytest

from support.fuzz_indexes import LEGS, build_commits, outside_of
from support.fuzzing import chance, record, trials
from support.index_trial import FAILED, REFUSED
from support.trial_process import Outcome

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(7200)]

WORDS = (0, 1, 2, 127, 128, 255, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)


def damage(index: Path, random: Random) -> str:
    """Damage one file. Return what was done."""
    files = sorted(path for path in index.rglob("*") if path.is_file())
    file = random.choice(files)
    name = file.relative_to(index)
    content = bytearray(file.read_bytes())
    kind = random.choice(KINDS)
    if kind in ("bits", "bytes", "word", "range") and not content:
        kind = "extend"
    if kind == "bits":
        for _ in range(random.choice([1, 1, 2, 8])):
            content[_position(random, len(content))] ^= 1 << random.randrange(8)
    elif kind == "bytes":
        for _ in range(random.choice([1, 3, 16])):
            content[_position(random, len(content))] = random.choice([0, 1, 0x7F, 0x80, 0xFF])
    elif kind == "word":
        size = random.choice([2, 4, 8])
        start = _position(random, len(content)) // size * size
        value = random.choice(WORDS) % 2 ** (8 * size)
        content[start : start + size] = value.to_bytes(size, random.choice(["little", "big"]))
    elif kind == "range":
        start = _position(random, len(content))
        size = min(random.randint(1, 600), len(content) - start)
        filling = random.choice([bytes(size), b"\xff" * size, random.randbytes(size)])
        content[start : start + size] = filling
    elif kind == "cut":
        del content[random.randint(0, len(content)) :]
    elif kind == "extend":
        content += random.choice([random.randbytes, bytes])(random.choice([1, 8, 4096]))
    elif kind == "other file":
        content = bytearray(random.choice(files).read_bytes())
    elif kind == "remove":
        file.unlink()
        return f"{name}: removed"
    elif kind in ("folder", "link", "pipe"):
        file.unlink()
        if kind == "folder":
            file.mkdir()
        elif kind == "pipe":
            os.mkfifo(file)
        else:
            file.symlink_to(index.parent / "outside" / "file")
        return f"{name}: now a {kind}"
    file.unlink()
    file.write_bytes(content)
    return f"{name}: {kind}"


KINDS = ["bits"] * 6 + ["bytes"] * 4 + ["word"] * 6 + ["range"] * 4 + ["cut"] * 2
KINDS += ["extend", "other file", "remove", "folder", "link", "pipe"]


def _position(random: Random, size: int) -> int:
    """Headers matter more than the rest."""
    return random.randrange(min(size, random.choice([16, 128, 1024, size, size])) or 1)


def judge(outcome: Outcome, expected: list[dict], what: str = "") -> tuple[str, str]:
    """Return the outcome's name for the table, and what is wrong with it, if anything is.

    expected: results after each commit. A log that is damaged ends at the damage, for SQLite as
    after a power cut, so that an earlier commit is the newest.
    """
    if outcome.kind != "returned":
        return outcome.kind, f"{outcome.kind}: {outcome.value}"
    results = outcome.value
    if failed := {name: said for name, (kind, said) in results.items() if kind == FAILED}:
        return "traceback", str(failed)
    if any(kind == REFUSED for kind, _ in results.values()):
        return "refused", ""
    if results in expected[-1:]:
        return "right answers", ""
    if results in expected and what.startswith("store.sqlite-wal"):
        return "an earlier commit", ""
    wrong = [name for name, result in expected[-1].items() if results[name] != result]
    return "wrong answer", f"wrong answers that verify does not notice: {wrong}"


@pytest.mark.parametrize("legs", LEGS)
def test_damaged_bytes(area, process, monkeypatch, legs):
    index = area / "index"
    expected = []
    for commit in build_commits(area / "commits", legs, monkeypatch):
        shutil.rmtree(index, ignore_errors=True)
        shutil.copytree(commit, index)
        outcome = process.run("support.index_trial:use", str(index))
        assert outcome.kind == "returned", outcome
        refused = {name: said for name, (kind, said) in outcome.value.items() if kind != "ok"}
        assert not refused
        expected.append(outcome.value)
    before = outside_of(index)
    problems = []
    for trial in range(trials(40)):
        shutil.rmtree(index)
        shutil.copytree(commit, index)
        what = damage(index, chance(f"damage {legs}", trial))
        outcome = process.run("support.index_trial:use", str(index))
        name, problem = judge(outcome, expected, what)
        assert outside_of(index) == before, f"trial {trial} ({what}) wrote outside"
        record(f"files: {legs}", name)
        if problem:
            problems.append(f"trial {trial} ({what}): {problem}")
    assert not problems, "\n".join([f"{len(problems)} problems", *problems])
