"""What is shipped is what stands in the tree, and imports point one way."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOP = {"mbert_retrieval/indexes": ROOT / "indexes", "mbert_retrieval/eval": ROOT / "eval"}

# who may import whom (besides itself and the top-level records)
ALLOWED = {
    "backbone": set(),
    "encoders": {"backbone"},
    "sources": set(),
    "indexes": set(),
    "eval": {"encoders", "backbone", "indexes", "sources", "index"},
    "serve": {"encoders", "indexes", "sources", "index"},
    "cli": {"eval", "serve", "sources", "encoders", "indexes", "index"},
}


def modules_in_tree() -> set[str]:
    files = {
        f"mbert_retrieval/{path.relative_to(ROOT / 'mbert_retrieval')}"
        for path in (ROOT / "mbert_retrieval").rglob("*.py")
    }
    for home, folder in TOP.items():
        files |= {f"{home}/{path.relative_to(folder)}" for path in folder.rglob("*.py")}
    return files


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> set[str]:
    copy, out = tmp_path_factory.mktemp("tree") / "tree", tmp_path_factory.mktemp("wheel")
    unwanted = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=unwanted)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, copy]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = out.glob("*.whl")
    return set(zipfile.ZipFile(built).namelist())


def test_wheel_holds_every_module(wheel):
    assert {name for name in wheel if name.endswith(".py")} == modules_in_tree()


def test_wheel_holds_the_shipped_model_and_the_typing_marker(wheel):
    assert "mbert_retrieval/py.typed" in wheel
    nano = ROOT / "mbert_retrieval" / "encoders" / "nano"
    shipped = {
        f"mbert_retrieval/encoders/nano/{path.relative_to(nano)}"
        for path in nano.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert any(name.endswith("model.safetensors") for name in shipped)
    assert shipped <= wheel


def test_no_top_level_name_but_ours(wheel):
    tops = {name.split("/")[0] for name in wheel}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"mbert_retrieval"}


def imported(path: Path, package: list[str]):
    """The subpackages of mbert_retrieval that a module imports, at any depth of nesting."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            names = [f"{stem}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "mbert_retrieval" and len(parts) > 1:
                yield parts[1]


@pytest.mark.parametrize("area", ALLOWED)
def test_imports_point_one_way(area):
    folder = {"indexes": ROOT / "indexes", "eval": ROOT / "eval"}.get(
        area, ROOT / "mbert_retrieval" / area
    )
    for path in folder.rglob("*.py"):
        inner = list(path.relative_to(folder).parent.parts)
        for target in imported(path, ["mbert_retrieval", area, *inner]):
            if (target in ALLOWED and target != area) or target == "index":
                assert target in ALLOWED[area], f"{path} imports {target}"


@pytest.mark.parametrize("module", ["mbert_retrieval", "mbert_retrieval.indexes"])
def test_importing_does_not_load_torch(module):
    code = f"import sys, {module}; print('torch' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
