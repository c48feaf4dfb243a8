"""Bytes of every file of every engine are damaged: right answers, or one clear error."""

from __future__ import annotations

import shutil

import pytest

from support.fuzz_indexes import LEGS, build_commits, outside_of
from support.fuzzing import chance, record, trials
from support.hostile import damage
from support.index_trial import FAILED, REFUSED
from support.trial_process import Outcome

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(7200)]


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
        return "answers", ""
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
