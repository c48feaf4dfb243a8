"""Tables, suites beside their published scores, and pages made of results."""

from __future__ import annotations

import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from mbert_retrieval import InputError
from mbert_retrieval.eval import page
from mbert_retrieval.eval.datasets import read_beir
from mbert_retrieval.eval.measures import parse_measures
from mbert_retrieval.eval.plots import Point, bars, scatter
from mbert_retrieval.eval.report import suite_report
from mbert_retrieval.eval.results import read_result
from mbert_retrieval.eval.runner import prepare
from mbert_retrieval.eval.suites import find_suite
from mbert_retrieval.eval.tables import Table, to_html
from support.eval_hub import mbert_eval, write_birds


@pytest.fixture
def results(tmp_path):
    with prepare(read_beir(write_birds(tmp_path / "birds")), None) as system:
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


def test_a_score_that_nobody_published_does_not_count_as_measured(results):
    """BM25's published row has no cell for MS MARCO and no mean."""
    cells = [cell(results[0], task, 0.3, system="BM25") for task in ("msmarco", "scifact")]
    assert suite_report(find_suite("beir"), cells).measured == 1


def test_texts_of_a_table_are_escaped():
    table = Table(["<a>", "b & c"], ["x < y"], [["<i>1</i>"]], {(0, 0)})
    page_cells = [
        e.text for e in ElementTree.fromstring(to_html(table)).iter() if e.text and e.text.strip()
    ]
    assert page_cells == ["<a>", "b & c", "x < y", "<i>1</i>"]
    plain = ElementTree.fromstring(to_html(Table(["a", "b"], ["x"], [["<i>"]])))
    assert [e.text for e in plain.iter("td")] == ["<i>"]


def test_bars_are_as_tall_as_their_values():
    drawing = ElementTree.fromstring(bars({"set": {"low": 0.25, "high": 0.5, "beyond": 3.0}}))
    drawn = [e for e in drawing.iter() if e.tag.endswith("rect") and len(e)]
    heights = [float(e.get("height")) for e in drawn]
    assert heights == pytest.approx([55, 110, 220])
    assert len({float(e.get("y")) + float(e.get("height")) for e in drawn}) == 1  # one base line


def test_better_points_are_higher_and_dearer_ones_to_the_right():
    points = [Point(1, 0.2, "a", "s"), Point(10, 0.4, "b", "s"), Point(100, 0.3, "c", "s")]
    drawing = ElementTree.fromstring(scatter(points, "cost", "quality"))
    circles = [e for e in drawing.iter() if e.tag.endswith("circle") and len(e)]
    x, y = ([float(e.get(name)) for e in circles] for name in ("cx", "cy"))
    assert x[1] - x[0] == pytest.approx(x[2] - x[1])  # equal steps of a logarithmic axis
    assert x[0] < x[1]
    assert y[1] < y[2] < y[0]
