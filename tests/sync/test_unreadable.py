"""What cannot be read keeps its passages, is reported, and is looked at again each time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from support.cli import ids, run_json

DROP = "--bounding-set=-dac_override,-dac_read_search"


def command(*arguments, cwd):
    """Run a command without root's right to read everything."""
    name, *rest = map(str, arguments)
    line = [sys.executable, "-m", f"mbert_retrieval.cli.{name}", *rest]
    if os.getuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("setpriv drops the rights of root")
        line = ["setpriv", DROP, DROP.replace("bounding-set", "inh-caps"), *line]
    return subprocess.run(line, cwd=cwd, capture_output=True, text=True)


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "src"
    for name in ("a.py", "b.py", "d/c.py"):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"def {file.stem}(): pass\n")
        os.utime(file, (1e9, 1e9))
    run_json("index", "build", root, "--encoder", "none", "--index", tmp_path / "i")
    return root


def all_ids(tree):
    return ids(tree.parent / "i")


ALL = {"a.py:1-1", "b.py:1-1", "d/c.py:1-1"}


@pytest.mark.parametrize("name", ["b.py", "d", "."])
def test_what_is_closed_for_a_while_stays(tree, name):
    os.utime(tree / name, (1.1e9, 1.1e9))
    (tree / name).chmod(0)
    at = ("--index", tree.parent / "i")
    try:
        for _ in range(2):
            done = command("search", "query", "pass", *at, cwd=tree.parent)
            assert done.returncode == 0
            assert (
                f"cannot read {tree / name} (Permission denied)".replace("/. ", " ") in done.stderr
            )
        done = command("index", "update", *at, cwd=tree.parent)
        assert done.returncode == 0
        assert "1 unreadable" in done.stdout
        assert "Permission denied" in command("index", "info", "--skipped", *at, cwd=tree).stdout
        assert all_ids(tree) == ALL
    finally:
        (tree / name).chmod(0o755)
    done = command("search", "query", "pass", *at, cwd=tree.parent)
    assert "cannot read" not in done.stderr
    assert command("index", "info", "--skipped", *at, cwd=tree.parent).stdout == ""
    assert all_ids(tree) == ALL


def test_a_file_that_changed_while_it_was_closed_is_read_when_it_opens(tree):
    at = ("--index", tree.parent / "i")
    (tree / "b.py").write_text("def zebra(): pass\n")
    (tree / "b.py").chmod(0)
    assert command("search", "query", "zebra", *at, cwd=tree.parent).returncode == 1
    (tree / "b.py").chmod(0o644)
    assert command("search", "query", "zebra", *at, cwd=tree.parent).returncode == 0


def test_an_emptied_source_keeps_its_passages_until_it_is_built_again(tree):
    """As a disk that is not mounted looks."""
    for entry in tree.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    at = ("--index", tree.parent / "i")
    for words in (("search", "query", "pass"), ("index", "update")):
        done = command(*words, *at, cwd=tree.parent)
        assert done.returncode == 0
        assert f"note: cannot read {tree} (empty" in done.stderr
        assert all_ids(tree) == ALL
    assert run_json("index", "build", tree, *at)[0]["deleted"] == 3


def test_one_missing_source_of_several_keeps_its_passages(tree):
    at = ("--index", tree.parent / "i")
    other = tree.parent / "other"
    other.mkdir()
    (other / "e.py").write_text("def e(): pass\n")
    (tree.parent / "r.jsonl").write_text('{"id": "1", "text": "one"}\n')
    run_json("index", "add", other, tree.parent / "r.jsonl", *at)
    before = all_ids(tree)
    shutil.move(other, tree.parent / "moved")
    shutil.move(tree.parent / "r.jsonl", tree.parent / "moved.jsonl")
    (tree / "a.py").unlink()
    done = command("index", "update", *at, cwd=tree.parent)
    assert done.returncode == 0
    assert done.stderr.startswith(f"note: cannot read {other} (no such")
    assert ", and 1 more: " in done.stderr
    assert all_ids(tree) == before - {"a.py:1-1"}
    shutil.move(tree.parent / "moved", other)
    assert "1 more" not in command("index", "update", *at, cwd=tree.parent).stderr
    shutil.rmtree(tree)
    shutil.rmtree(other)
    done = command("index", "update", *at, cwd=tree.parent)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "no such file or folder" in done.stderr
    assert all_ids(tree) == before - {"a.py:1-1"}


def test_a_file_that_is_gone_is_deleted(tree):
    (tree / "d/c.py").unlink()
    run_json("search", "query", "pass", "--index", tree.parent / "i")
    assert all_ids(tree) == ALL - {"d/c.py:1-1"}
