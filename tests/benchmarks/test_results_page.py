"""A measured table is written between its markers, with the machine above it; the rest stays."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from mbert_retrieval import InputError

ROOT = Path(__file__).resolve().parents[2]
OTHERS = {"index", "gpu"}  # written by hand, and by benchmarks/gpu/page.py
PAGES = {page.stem for page in (ROOT / "docs" / "results").glob("*.md")} - OTHERS


@pytest.fixture
def results_page(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import results_page

    monkeypatch.setattr(results_page, "header", lambda threads=None: f"Measured by {threads}.")
    return results_page


def test_table_replaces_what_stands_between_the_markers(results_page, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# T\n\n<!-- q:begin -->\nold\n<!-- q:end -->\n\nafter\n<!-- p:begin -->\n")
    expected = (
        "# T\n\n<!-- q:begin -->\nMeasured by 2.\n\n| new |\n<!-- q:end -->\n\nafter\n"
        "<!-- p:begin -->\n"
    )
    for _ in range(2):
        results_page.write_table("q", "| new |", page, threads=2)
        assert page.read_text() == expected


def test_page_without_markers_is_left_alone(results_page, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# T\n<!-- q:begin -->\nrest")
    with pytest.raises(InputError, match="has no lines"):
        results_page.write_table("q", "x", page)
    assert page.read_text() == "# T\n<!-- q:begin -->\nrest"


@pytest.mark.parametrize("name", sorted(PAGES))
def test_every_results_page_has_the_markers_of_its_name(name):
    text = (ROOT / "docs" / "results" / f"{name}.md").read_text()
    assert text.count(f"<!-- {name}:begin -->\n") == 1
    assert text.count(f"\n<!-- {name}:end -->") == 1


def test_every_benchmark_writes_a_page_that_there_is():
    written = set()
    for script in (ROOT / "benchmarks").rglob("*.py"):
        written |= set(re.findall(r'write_table\(\s*"([\w-]+)"', script.read_text()))
    assert written == PAGES


@pytest.mark.parametrize(
    ("called", "expected"),
    [
        (
            "benchmarks/quality/needle.py --encoder nano --cache /c --data=/d --lengths 8192",
            "python -m benchmarks.quality.needle --encoder nano --lengths 8192",
        ),
        (
            "benchmarks/speed/serve.py --index /i --work /w --dry",
            "python -m benchmarks.speed.serve --dry",
        ),
    ],
)
def test_command_leaves_out_the_folders_of_this_machine(
    results_page, monkeypatch, called, expected
):
    script, *options = called.split()
    monkeypatch.setattr(sys, "argv", [str(ROOT / script), *options])
    assert results_page.command_line() == expected


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [
        (
            "model name\t: AMD EPYC\nflags\t\t: fma avx2 avx512f avx512bw avx512vl avx512_vnni\n",
            ("AMD EPYC", "AVX-512 VNNI"),
        ),
        ("model name\t: Xeon\nflags\t\t: fma avx2 avx512f avx512bw\n", ("Xeon", "AVX-512")),
        ("model name\t: Ryzen\nflags\t\t: fma avx2\n", ("Ryzen", "AVX2")),
        ("CPU part\t: 0xd0c\nFeatures\t: fp asimd asimddp\n", (None, "NEON with dot products")),
        ("", (None, "no known vector instructions")),
    ],
)
def test_machine_is_named_by_processor_and_instruction_tier(
    results_page, monkeypatch, cpuinfo, expected
):
    monkeypatch.setattr("platform.machine", lambda: None)
    assert results_page.processor(cpuinfo) == expected


def test_header_names_machine_threads_date_and_command(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import results_page

    monkeypatch.setattr(results_page, "machine", lambda threads: f"a processor, {threads} threads")
    monkeypatch.setattr(sys, "argv", [str(ROOT / "benchmarks/quality/tour.py")])
    assert re.fullmatch(
        r"Measured on \d{4}-\d\d-\d\d: a processor, 2 threads, by "
        r"`python -m benchmarks\.quality\.tour`\.",
        results_page.header(2),
    )


def test_a_table_goes_to_the_tier_that_the_page_has_one_for(results_page, tmp_path, monkeypatch):
    page = tmp_path / "speed.md"
    for tier in ("", "-avx2"):
        page.open("a").write(f"<!-- speed{tier}:begin -->\nold\n<!-- speed{tier}:end -->\n")
    for tier in ("avx2", "neon"):
        monkeypatch.setattr(results_page.kernels, "TIER", tier)
        results_page.write_table("speed", f"| {tier} |", page=page)
    main, avx2 = page.read_text().split("<!-- speed-avx2:begin -->")
    assert "| neon |" in main
    assert "| avx2 |" in avx2
    assert "old" not in main + avx2
