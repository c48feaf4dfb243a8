"""Paired comparisons against scipy and textbook corrections."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mbert_retrieval import InputError
from mbert_retrieval.eval import comparison
from mbert_retrieval.eval.datasets import read_beir
from mbert_retrieval.eval.measures import parse_measures
from mbert_retrieval.eval.runner import score_run
from mbert_retrieval.eval.runs import write_run
from support.eval_hub import mbert_eval, write_birds


@pytest.fixture
def data(tmp_path):
    return write_birds(tmp_path / "birds")


@pytest.fixture
def two_runs(data, tmp_path):
    """A run that is right everywhere, and one that is second for every third query."""
    right = {f"q{i}": {f"d{i}": 2.0, "d0" if i else "d1": 1.0} for i in range(12)}
    worse = {
        q: {
            d: (2.5 if j and int(q[1:]) % 3 == 0 else s) for j, (d, s) in enumerate(ranking.items())
        }
        for q, ranking in right.items()
    }
    paths = tmp_path / "right.trec", tmp_path / "worse.trec"
    for path, run in zip(paths, (right, worse), strict=True):
        write_run(path, run, path.stem)
    return paths


def test_runs_are_compared(data, two_runs):
    measures = ("--measures", "RR@10 R@100", "--data", data, "--changed", "2")
    done = mbert_eval("compare", *two_runs, *measures, "--json")
    assert done.returncode == 0, done.stderr
    rr, recall = map(json.loads, done.stdout.splitlines())
    assert (rr["first"]["mean"], rr["second"]["mean"]) == pytest.approx((1.0, 10 / 12))
    assert (rr["better"], rr["equal"], rr["worse"]) == (0, 8, 4)
    assert rr["most_changed"] == {"q0": -0.5, "q3": -0.5}
    assert rr["interval"][0] < rr["difference"] < rr["interval"][1] <= 0
    assert rr["p_corrected"] == pytest.approx(2 * rr["p"])
    assert (recall["difference"], recall["p"], recall["most_changed"]) == (0, 1, {})
    text = mbert_eval("compare", *two_runs, *measures, "--test", "t").stdout
    assert "  -0.5000  q3  egret" in text
    assert "\x1b" not in text
    differences = np.array([-0.5 if i % 3 == 0 else 0.0 for i in range(12)])
    expected = stats.ttest_rel(differences, np.zeros(12)).pvalue
    assert f"{expected:.4f}" in text


def test_what_cannot_be_compared(data, two_runs, tmp_path):
    done = mbert_eval("compare", *two_runs)
    assert done.returncode == 2
    assert "is a run file: name the BEIR folder that judges it with --data" in done.stderr
    dataset, measures = read_beir(data), parse_measures("RR")
    result = score_run(dataset, two_runs[0], {"q1": {"d1": 1.0}}, measures)
    other = replace(result, dataset={**result.dataset, "name": "fish"})
    key = ("birds", "test")
    with pytest.raises(InputError, match="no data set in common"):
        comparison.pair_results({key: result}, {("fish", "test"): other})
    changed = replace(result, dataset={**result.dataset, "checksums": {"corpus.jsonl": "x"}})
    with pytest.raises(InputError, match="measured different files as birds"):
        comparison.pair_results({key: result}, {key: changed})
    result.write(tmp_path / "results" / "a.json")
    replace(result, system="b").write(tmp_path / "results" / "b.json")
    with pytest.raises(InputError, match="two systems on birds test"):
        comparison.read_system(tmp_path / "results", None, measures)


@given(st.lists(st.floats(-1, 1).map(lambda x: round(x, 3)), min_size=2, max_size=40))
def test_t_test_agrees_with_scipy(values):
    differences = np.array(values)
    p = comparison.t_test(differences)
    if not differences.any():
        assert p == 1.0
    elif np.ptp(differences) > 0:
        assert p == pytest.approx(stats.ttest_rel(differences, np.zeros(len(values))).pvalue)


def test_bootstrap_agrees_with_the_t_test_where_both_hold():
    """Many nearly normal differences: the two p-values and the intervals must be close."""
    generator = np.random.default_rng(5)
    for shift in (0.0, 0.02, 0.05):
        differences = generator.normal(shift, 0.3, 400)
        low, high, p = comparison.bootstrap(differences, 5000)
        expected = stats.ttest_1samp(differences, 0)
        interval = expected.confidence_interval(0.95)
        assert p == pytest.approx(expected.pvalue, abs=0.02)
        assert (low, high) == pytest.approx((interval.low, interval.high), abs=0.004)
    assert comparison.bootstrap(np.zeros(9), 200) == (0.0, 0.0, 1.0)
    assert comparison.bootstrap(differences, 500) == comparison.bootstrap(differences, 500)


def test_p_values_of_no_difference_are_uniform():
    generator = np.random.default_rng(6)
    values = [comparison.bootstrap(generator.normal(0, 1, 30), 300)[2] for _ in range(300)]
    assert stats.kstest(values, "uniform").pvalue > 0.01


def test_bootstrap_never_gives_a_p_value_of_zero():
    differences = np.random.default_rng(7).normal(1, 0.1, 50)
    assert comparison.bootstrap(differences, 999)[2] == pytest.approx(1 / 1000)


def test_rounding_of_equal_differences_is_no_difference():
    """Every sample, less the mean, is 0 up to rounding: no t is as large as that of the data."""
    for count, value in ((6, 0.1), (6, 0.3), (11, 0.1), (13, 0.7)):
        assert comparison.bootstrap(np.full(count, value), 199)[2] == pytest.approx(1 / 200)


def test_one_query_has_no_t_test():
    assert comparison.t_test(np.array([0.3])) == 1.0


def test_most_changed_queries_are_largest_first_whatever_their_sign():
    differences = {"a": 0.1, "b": -0.4, "c": 0.0, "d": 0.5, "e": -0.1, "f": 1e-12}
    each = comparison.Comparison("x", "RR", "A", "B", 0, 0, 0, 0, 1, 1, differences)
    assert each.most_changed(9) == [("d", 0.5), ("b", -0.4), ("a", 0.1), ("e", -0.1)]
    assert each.most_changed(1) == [("d", 0.5)]
    assert each.counts == (2, 2, 2)


def test_corrected_p_values_are_at_most_one():
    assert comparison.holm([0.9, 0.8, 0.01]) == pytest.approx([1, 1, 0.03])


def test_holm_on_a_textbook_example():
    """R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")."""
    assert comparison.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
