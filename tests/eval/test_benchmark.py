"""Which result files of a suite are used again, and how long the rest may take."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from mbert_retrieval import InputError
from mbert_retrieval.eval.benchmark import (
    Cell,
    Estimate,
    RunOptions,
    SuiteFolders,
    SystemOptions,
    run_suite,
)
from mbert_retrieval.eval.measures import parse_measures
from mbert_retrieval.eval.suites import HubData, Published, Suite, Task
from support.eval_hub import write_birds

DATA = HubData("nobody/birds", "main", ("c", "c"), ("q", "q"), ("r", "r"))
ROW = Published("by somebody", {"birds": 0.9}, "a paper")
SUITE = Suite("zoo", "A zoo", [Task("birds", DATA)], protocol="", published=[ROW])
BM25 = SystemOptions("bm25")


@contextmanager
def no_progress(label, total):
    yield lambda done: None


@pytest.fixture
def folders(tmp_path):
    write_birds(tmp_path / "root" / "birds")
    return SuiteFolders(tmp_path / "results", tmp_path / "cache", tmp_path / "root")


def run(folders, measures="nDCG@10", system=BM25, suite=SUITE, on_error=None, **options):
    (cell,) = run_suite(
        suite,
        suite.select(None),
        system,
        RunOptions(parse_measures(measures), **options),
        folders,
        progress=no_progress,
        on_error=on_error,
    )
    return cell


def test_a_finished_result_is_used_again(folders):
    first, second = run(folders), run(folders)
    assert (first.is_new, second.is_new) == (True, False)
    assert second.result == first.result
    assert first.path == folders.results / "zoo-birds-test-bm25.json"


@pytest.mark.parametrize(
    "changed", [{"measures": "nDCG@10 R@5"}, {"k": 20}, {"published": ROW.row}]
)
def test_a_result_of_other_options_is_replaced(folders, changed):
    run(folders)
    assert run(folders, **changed).is_new
    assert not run(folders, **changed).is_new


def test_fewer_measures_need_no_new_result(folders):
    run(folders, "nDCG@10 R@5")
    assert not run(folders, "R@5").is_new


@pytest.mark.parametrize("file", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"])
def test_a_result_of_other_data_is_replaced(folders, file):
    run(folders)
    with (folders.data_root / "birds" / file).open("a") as opened:
        opened.write("\n\n")
    assert run(folders).is_new


def test_a_result_for_another_rule_of_the_suite_is_replaced(folders):
    run(folders)
    dropping = Suite("zoo", "A zoo", [Task("birds", DATA, drop_own_id=True)], protocol="")
    assert run(folders, suite=dropping).is_new


def test_missing_data_is_reported_and_the_rest_is_run(folders):
    suite = Suite("zoo", "A zoo", [Task("fish", DATA), *SUITE.tasks], protocol="")
    errors = []
    cell = run(folders, suite=suite, on_error=lambda task, error: errors.append((task.name, error)))
    assert cell.task.name == "birds"
    ((name, error),) = errors
    assert name == "fish"
    assert "has no fish" in str(error)


def test_a_mode_that_needs_an_encoder_is_refused_before_anything_is_read(folders):
    shutil.rmtree(folders.data_root)
    with pytest.raises(InputError, match="mode hybrid needs an encoder"):
        run(folders, system=SystemOptions("bm25", mode="hybrid"))


def cell(task, seconds, is_new=True):
    result = SimpleNamespace(dataset={"documents": task.documents})
    return Cell(task, result, None, is_new, seconds)


def test_the_remaining_time_follows_from_the_speed_so_far():
    small, large, huge = (
        Task(name, DATA, documents=n) for name, n in (("s", 100), ("l", 1200), ("h", 100_000))
    )
    estimate = Estimate([small, large, huge])
    assert estimate.after(cell(small, 60)) == "2 to go, about 17 h"  # 101,200 documents of 0.6 s
    assert estimate.after(cell(huge, 0.1, is_new=False)) == "1 to go, about 12 min"
    assert estimate.after(cell(large, 720)) == "all done"


def test_no_time_is_named_for_data_sets_of_unknown_size():
    known, unknown = Task("k", DATA, documents=100), Task("u", DATA)
    assert Estimate([known, unknown]).after(cell(known, 60)) == "1 to go"
