"""Benchmarks and example scripts are not run here; what they import of the package exists."""

from __future__ import annotations

import ast
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = [*(ROOT / "benchmarks").rglob("*.py"), *(ROOT / "examples").rglob("*.py")]


def imported(script: Path) -> list[tuple[str, str]]:
    """Return (module, name) of everything imported from the package, also inside functions."""
    tree = ast.parse(script.read_text(encoding="utf-8"))
    return [
        (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mbert_retrieval")
        for alias in node.names
    ]


@pytest.mark.parametrize(
    "script", sorted(SCRIPTS), ids=lambda script: script.relative_to(ROOT).as_posix()
)
def test_what_a_script_imports_exists(script):
    for module, name in imported(script):
        found = hasattr(import_module(module), name)
        if not found:
            import_module(f"{module}.{name}")  # a submodule
