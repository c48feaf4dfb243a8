"""Paired comparisons against scipy and textbook corrections; pages made of results."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mbert_retrieval import InputError
from mbert_retrieval.eval import comparison, page
from mbert_retrieval.eval.datasets import read_beir
from mbert_retrieval.eval.measures import parse_measures
from mbert_retrieval.eval.report import suite_report
from mbert_retrieval.eval.results import read_result
from mbert_retrieval.eval.runner import prepare, score_run
from mbert_retrieval.eval.runs import write_run
from mbert_retrieval.eval.suites import find_suite


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "birds"
    (folder / "qrels").mkdir(parents=True)
    words = ["heron", "crane", "stork", "egret", "ibis", "coot"]
    words += ["rail", "teal", "smew", "scaup", "gull", "tern"]
    documents = {f"d{i}": f"the {word} on the lake" for i, word in enumerate(words)}
    queries = {f"q{i}": word for i, word in enumerate(words)}
    for name, texts in {"corpus": documents, "queries": queries}.items():
        rows = [json.dumps({"_id": id, "text": text}) for id, text in texts.items()]
        (folder / f"{name}.jsonl").write_text("\n".join(rows))
    lines = [f"q{i}\td{i}\t1\n" for i in range(len(words))]
    (folder / "qrels" / "test.tsv").write_text("".join(lines))
    return folder


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


def mbert_eval(*arguments):
    command = [sys.executable, "-m", "mbert_retrieval.cli.eval", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


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


def test_holm_on_a_textbook_example():
    """R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")."""
    assert comparison.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@pytest.fixture
def results(data):
    with prepare(read_beir(data), None) as system:
        result, _ = system.evaluate("lexical", parse_measures("nDCG@10 R@100"), latency_queries=5)
    return [result]


def cell(result, task, value, system="mine", published=None, suite="beir"):
    column = "cqadupstack" if task.startswith("cqadupstack") else task
    record = {"name": suite, "task": task, "column": column, "published": published}
    return replace(
        result,
        system=system,
        suite=record,
        measures={"nDCG@10": value, "R@100": value},
        dataset={**result.dataset, "name": task},
    )


def test_means_of_a_suite_need_every_data_set(results):
    suite = find_suite("beir")
    row = "ColBERT ModernBERT-base"
    cells = [cell(results[0], task.name, 0.5, published=row) for task in suite.tasks[:-1]]
    report = suite_report(suite, cells)
    assert (report.cells, report.measured) == (126, 14)
    (mine,) = (r for r in report.rows if not r.published)
    assert "cqadupstack" not in mine.values
    assert "mean" not in mine.values
    # the last forum, with twelve times the score: the mean of twelve is (11 * .5 + x) / 12
    report = suite_report(
        suite, [*cells, cell(results[0], suite.tasks[-1].name, 0.98, published=row)]
    )
    labels = [r.label for r in report.rows]
    assert labels.index("mine") == labels.index(f"{row} (published)") + 1
    (mine,) = (r for r in report.rows if not r.published)
    assert mine.values["cqadupstack"] == pytest.approx(0.54)
    assert mine.values["mean"] == pytest.approx((14 * 0.5 + 0.54) / 15)
    assert (report.cells, report.measured) == (126, 16)
    with pytest.raises(InputError, match="two results for 'mine' on nfcorpus"):
        suite_report(suite, [cells[0], cells[0]])


def test_latency_and_size_are_recorded(results):
    (result,) = results
    latency = result.search["latency_ms"]
    assert 0 < latency["median"] <= latency["p95"]
    assert latency["queries"] == 5
    assert result.index["bytes"] > 1000


def test_pages_hold_every_number_and_load_nothing(results, tmp_path):
    row = "DPR ModernBERT-base"
    everything = [*results, cell(results[0], "scifact", 0.614, "my & mine", row)]
    everything += [cell(results[0], "fiqa", 0.314, "my & mine", row)]
    for number, result in enumerate(everything):
        result.write(tmp_path / "results" / f"{number}.json")
    markdown = mbert_eval("report", tmp_path / "results").stdout
    assert "| BM25   |              1.000 |            1.000 |" in markdown
    assert "126 published cells: 2 measured here, 124 not run." in markdown
    out = tmp_path / "page.html"
    assert (
        mbert_eval("report", tmp_path / "results", "--format", "html", "--output", out).returncode
        == 0
    )
    text = out.read_text()
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text
    body = text[text.index("<h1>") : text.index("</html>")]
    root = ElementTree.fromstring(f"<div>{body}</div>")
    plots = [e for e in root.iter() if e.tag.endswith("svg")]
    assert len(plots) == 4  # free results, BEIR's columns, latency, size
    titles = [e.text for e in root.iter() if e.tag.endswith("title")]
    assert "my & mine, scifact: 61.4" in titles
    assert "DPR ModernBERT-base (published), scifact: 57.0" in titles
    assert any(title.startswith("BM25, birds: 100.0 at ") for title in titles)
    latex = mbert_eval("report", tmp_path / "results", "--format", "latex").stdout
    assert r"my \& mine & -- & 61.4 & -- & 31.4" in latex
    assert latex.count(r"\begin{tabular}") == latex.count(r"\bottomrule") == 2


def test_old_records_are_read(results, tmp_path):
    """Written before there were suites."""
    path = tmp_path / "old.json"
    results[0].write(path)
    record = json.loads(path.read_text())
    del record["suite"]
    path.write_text(json.dumps(record))
    assert read_result(path) == results[0]
    assert page.as_markdown([read_result(path)], ["nDCG@10"]).startswith("| system |")
