"""Ctrl+C ends a command within a second in every phase; patterns that do not end are refused."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest

from mbert_retrieval import Index, Passage
from support.cli import assert_refused, run

INTERRUPTED = {130, -signal.SIGINT}  # shells show both as 130
NESTED = "(a+)+$"
HOSTILE = " OR ".join(["text GLOB '*[^@]" + "?" * 9000 + "ZQ*'"] * 3)


@pytest.fixture(scope="module")
def long_index(tmp_path_factory):
    """An index of one long passage."""
    path = tmp_path_factory.mktemp("long") / "i"
    Index.build(path, [Passage("long", "word " + "a" * 3_000_000 + "!")], None)
    return path


def interrupted(seconds: float, *arguments: object) -> tuple[int, str, float]:
    """Interrupt `mbert-search query word` after some time. Returns code, stderr, seconds."""
    code = "from mbert_retrieval.cli.start import search; search()"
    line = [sys.executable, "-c", code, "query", "word", *map(str, arguments)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as query:
        time.sleep(seconds)
        started = time.monotonic()
        query.send_signal(signal.SIGINT)
        _, errors = query.communicate(timeout=20)
        return query.returncode, errors, time.monotonic() - started


@pytest.mark.parametrize("option", [("-e", NESTED), ("--where", HOSTILE)])
@pytest.mark.parametrize("seconds", [0.2, 0.5, 2])  # imports, and matching
def test_an_interrupt_ends_a_query(long_index, option, seconds):
    code, errors, took = interrupted(seconds, "--index", long_index, *option)
    assert code in INTERRUPTED
    assert errors == ""
    assert took < 1


def test_a_regular_expression_that_does_not_end_is_refused(long_index):
    done = run("search", "query", "word", "--index", long_index, "-e", NESTED)
    assert_refused(done, "without nested repetition")


@pytest.mark.parametrize("pattern", ["a{99999999999}", "(" * 5000 + ")" * 5000, "(", "a{5,2}"])
def test_a_regular_expression_that_cannot_be_read_is_refused(long_index, pattern):
    done = run("search", "query", "word", "--index", long_index, "-e", pattern)
    assert_refused(done, "cannot read the regular expression")


def test_slow_matches_of_many_passages_are_not_refused(tmp_path, monkeypatch):
    """The limit is for one passage, not for all of them."""
    import mbert_retrieval.cli.match_limit as match_limit
    from mbert_retrieval.indexes.filtering import narrowed

    passages = [Passage(str(n), "word " + "a" * 18 + "!" + json.dumps(n)) for n in range(24)]
    index = Index.build(tmp_path / "i", passages, None)
    monkeypatch.setattr(match_limit, "MATCH_SECONDS", 0.4)
    monkeypatch.setattr(match_limit, "TICK_SECONDS", 0.01)
    with match_limit.limited_matches():
        assert not index.search("word", where=narrowed(None, "(a+)+$"))
