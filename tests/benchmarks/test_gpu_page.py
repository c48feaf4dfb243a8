"""The page of results on a GPU: one section a script, and what was not measured is named."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu" / "page.py"


@pytest.fixture
def page(monkeypatch):
    spec = importlib.util.spec_from_file_location("gpu_page", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module.torch.cuda, "get_device_name", lambda: "Card 1")
    monkeypatch.setattr(module, "_driver", lambda: "99.1")
    monkeypatch.setattr(module.sys, "argv", ["x.py", "--queries", "7"])
    return module


def test_a_section_replaces_its_own_only(page, tmp_path):
    out = tmp_path / "results" / "gpu.md"
    page.publish("plaid", ["| old |"], {"ms": 1.0}, out)
    page.publish("check", ["| checked |"], [], out)
    page.publish("plaid", ["| new |"], {"ms": 0.5}, out)
    text = out.read_text()
    assert "| old |" not in text
    assert text.index("| checked |") < text.index("| new |")
    assert "`python -m benchmarks.gpu.plaid --queries 7`, Card 1, driver 99.1, torch " in text
    assert json.loads(out.with_suffix(".json").read_text())["plaid"]["numbers"] == {"ms": 0.5}


def test_what_was_not_measured_is_named(page, tmp_path):
    out = tmp_path / "gpu.md"
    page.publish("plaid", ["| new |"], {}, out)
    assert "Not measured (`python -m benchmarks.gpu.encode`)." in out.read_text()


def test_the_committed_page_is_made_from_its_numbers(page):
    made = "\n".join(page._rendered(json.loads(page.PAGE.with_suffix(".json").read_text())))
    assert page.PAGE.read_text() == made
