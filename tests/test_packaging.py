"""What is shipped is what stands in the tree, and imports point one way."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOP = {"mbert_retrieval/indexes": ROOT / "indexes", "mbert_retrieval/eval": ROOT / "eval"}

ROOT_MODULES = {"types", "packed", "errors", "protocols", "files", "index"}
BASE = {"types", "packed", "errors"}

# what each folder and root module may import, besides itself; `index` is the facade
ALLOWED = {
    "types": set(),
    "errors": set(),
    "packed": set(),
    "files": set(),
    "protocols": {"types", "packed"},
    "native": {"errors"},
    "backbone": {"errors", "native"},
    "encoders": BASE | {"files", "backbone"},
    "sources": BASE,
    "indexes": BASE | {"files", "native"},
    "search": BASE | {"protocols", "indexes", "encoders"},
    "sync": BASE | {"protocols", "files", "sources", "indexes", "search"},
    "index": BASE | {"protocols", "indexes", "search", "sync"},
    "training": BASE | {"backbone", "encoders", "sources", "index", "eval"},
    "eval": BASE | {"protocols", "files", "encoders", "backbone", "indexes", "search", "index"},
    "serve": BASE | {"protocols", "encoders", "indexes", "search", "sync", "sources", "index"},
    "cli": BASE
    | {"protocols", "encoders", "indexes", "search", "sync", "sources", "index"}
    | {"training", "eval", "serve", "native"},
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


def modules() -> dict[str, Path]:
    """Every module's full name and file."""
    homes = {"mbert_retrieval": ROOT / "mbert_retrieval"}
    homes |= {home.replace("/", "."): folder for home, folder in TOP.items()}
    files = {}
    for home, folder in homes.items():
        for path in folder.rglob("*.py"):
            parts = [home, *path.relative_to(folder).with_suffix("").parts]
            files[".".join(parts).removesuffix(".__init__")] = path
    return files


MODULES = modules()


def imports(module: str) -> set[str]:
    """The modules of this package that a module imports, at any depth of nesting."""
    path = MODULES[module]
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    targets = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            targets |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{stem}.{alias.name}"
                is_module = inner in MODULES or inner.startswith("mbert_retrieval.native.")
                targets.add(inner if is_module else stem)
    return {name for name in targets if name.startswith("mbert_retrieval.")} - {module}


def area(module: str) -> str:
    """The folder or root module to which a module belongs."""
    return module.split(".")[1]


def test_every_folder_and_root_module_has_a_rule():
    assert {area(name) for name in MODULES if "." in name} == set(ALLOWED)


@pytest.mark.parametrize("name", ALLOWED)
def test_imports_point_one_way(name):
    targets = {
        (module, area(target))
        for module in MODULES
        if "." in module and area(module) == name
        for target in imports(module)
    }
    wrong = {(module, to) for module, to in targets if to != name and to not in ALLOWED[name]}
    assert wrong == set()


def test_the_rules_have_no_circle():
    left = {name: set(targets) for name, targets in ALLOWED.items()}
    while free := {name for name, targets in left.items() if not targets}:
        left = {name: targets - free for name, targets in left.items() if name not in free}
    assert left == {}


@pytest.mark.parametrize("folder", sorted(set(ALLOWED) - ROOT_MODULES))
def test_no_modules_of_a_folder_import_each_other(folder):
    left = {
        module: {target for target in imports(module) if area(target) == folder}
        for module in MODULES
        if "." in module and area(module) == folder
    }
    while free := {name for name, targets in left.items() if not targets & left.keys()}:
        left = {name: targets for name, targets in left.items() if name not in free}
    assert left == {}


BINDINGS = {"kernels.cpp"}
NATIVE = ROOT / "mbert_retrieval" / "native"
SOURCES = sorted([*NATIVE.rglob("*.h"), *NATIVE.rglob("*.cpp")])
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.MULTILINE)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_compiled_code_includes_nothing_of_other_folders(path):
    own = {name for mark, name in INCLUDE.findall(path.read_text()) if mark == '"'}
    assert all((path.parent / name).resolve().is_relative_to(NATIVE) for name in own)


def test_only_the_binding_files_know_python():
    users = {
        path.name
        for path in SOURCES
        if any(
            name.startswith(("pybind11", "Python")) for _, name in INCLUDE.findall(path.read_text())
        )
    }
    assert users == BINDINGS


@pytest.mark.parametrize("module", ["mbert_retrieval", "mbert_retrieval.indexes"])
def test_importing_does_not_load_torch(module):
    code = f"import sys, {module}; print('torch' in sys.modules, 'transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
