"""The walk of a folder, with git itself as the oracle for what is ignored."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from mbert_retrieval.sources import Selection, SkippedFile, read_source
from mbert_retrieval.sources.walk import walk

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is the oracle")


def git(folder: Path, *arguments: str) -> str:
    environment = os.environ | {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "HOME": str(folder),
        "XDG_CONFIG_HOME": str(folder),
    }
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


def write(root: Path, files: dict[str, str]) -> None:
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)


def walked(root: Path) -> list[str]:
    return [str(Path(entry).relative_to(root)) for entry in walk(root, [])]


def added_by_git(root: Path) -> set[str]:
    """Files that git would add, without the hidden ones."""
    names = git(root, "ls-files", "--others", "--exclude-standard", "-z").split("\0")
    return {
        name
        for name in names
        if name and not any(part.startswith(".") for part in Path(name).parts)
    }


NAMES = ["a", "b", "ab", "a.c", "b.log", "build"]


FOLDERS = ["", "a", "build", "b/a", "b/build", "a/b/a"]


FILES = [f"{folder}/{name}".lstrip("/") for folder in FOLDERS for name in ("ab", "a.c", "b.log")]


PIECES = ["a", "b", "ab", "a.c", "*.log", "build", "*", "**", "?", "a*", "[ab]", "[!a]*", "*.c"]


ODD_PIECES = ["***", "a**", "**b", "[a-b]*", "[[:alpha:]]", "[]a]", "[^b]*", "[a", "\\a", "b\\"]
ODD_PIECES += ["[b-a]*", "[a-]*", "[\\a-b]*", "[[:no:]]", "[a[:digit:].]*", "[!]a]*", "a[/]b"]


patterns = st.builds(
    lambda negated, anchored, pieces, folder, tail: (
        negated + anchored + "/".join(pieces) + folder + tail
    ),
    st.sampled_from(["", "", "!"]),
    st.sampled_from(["", "", "/"]),
    st.lists(st.sampled_from(PIECES + ODD_PIECES), min_size=1, max_size=3),
    st.sampled_from(["", "", "/"]),
    st.sampled_from(["", "", " ", "\r", "  ", "\\ ", "/"]),
)


rules = st.lists(st.one_of(patterns, st.sampled_from(["", "# a", "\\#a", "!"])), max_size=5)


@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(top=rules, inner=rules, exclude=rules)
@example(top=["*", "!*/", "!*.c"], inner=[], exclude=[])
@example(top=["build/", "!build/ab"], inner=["!b.log"], exclude=["*.log"])
@example(top=["/b/**/a.c", "a/**"], inner=["*", "!ab"], exclude=[])
def test_a_walk_yields_what_git_would_add(tmp_path, top, inner, exclude):
    root = tmp_path / "tree"
    if not root.exists():
        root.mkdir()
        write(root, dict.fromkeys(FILES, "x"))
        git(root, "init", "-q")
    (root / ".gitignore").write_bytes("\n".join(top).encode())
    (root / "b" / ".gitignore").write_bytes("\n".join(inner).encode())
    (root / ".git/info/exclude").write_bytes("\n".join(exclude).encode())
    assert set(walked(root)) == added_by_git(root)
    inside = root / "b"  # the rules above a source count as well
    expected = {name[2:] for name in added_by_git(root) if name.startswith("b/")}
    if git_ignores_folder(root, "b"):
        return  # but a folder that is named is read, whatever ignores it
    assert set(walked(inside)) == expected


def git_ignores_folder(root: Path, name: str) -> bool:
    done = subprocess.run(["git", "check-ignore", "-q", name], cwd=root, check=False)
    return done.returncode == 0


def test_dot_ignore_has_the_last_word_in_its_folder(tmp_path):
    write(
        tmp_path,
        {
            ".gitignore": "*.log\n",
            ".ignore": "!kept.log\n*.tmp\n",
            "kept.log": "",
            "a.log": "",
            "a.tmp": "",
            "a.py": "",
        },
    )
    assert walked(tmp_path) == ["a.py", "kept.log"]


def test_the_order_is_fixed_and_hidden_things_and_indexes_are_left_out(tmp_path):
    hidden = [".hidden", ".git/config", ".venv/x.py", "CVS/Root"]
    an_index = [f"my.index/{name}" for name in ("manifest.json", "store.sqlite", "notes.txt")]
    code = ["b.py", "d/e.py", "a/z.py", "a/b/c.py", "a.py", "B.py"]
    write(tmp_path, dict.fromkeys([*hidden, *an_index, *code], "x"))
    assert walked(tmp_path / "my.index") == ["manifest.json", "notes.txt", "store.sqlite"]
    assert walked(tmp_path) == ["B.py", "a.py", "b.py", "a/z.py", "a/b/c.py", "d/e.py"]


def test_links_are_not_followed_and_are_counted(tmp_path):
    outside = tmp_path / "outside"
    root = tmp_path / "root"
    write(outside, {"secret.py": "x"})
    write(root, {"a.py": "x", "deep/b.py": "x"})
    (root / "deep/loop").symlink_to(root)
    (root / "out").symlink_to(outside)
    (root / "c.py").symlink_to(outside / "secret.py")
    (root / "broken").symlink_to(root / "nowhere")
    skipped: list[SkippedFile] = []
    assert [path.name for path in walk(root, skipped)] == ["a.py", "b.py"]
    assert {Path(file.path).name: file.reason for file in skipped} == dict.fromkeys(
        ["loop", "out", "c.py", "broken"], "symbolic link"
    )


def test_a_tree_deeper_than_the_recursion_limit_is_walked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.makedirs("/".join("d" * 400))
    Path("/".join("d" * 400), "leaf.py").write_text("x")
    skipped: list[SkippedFile] = []
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(300)
    try:
        found = list(walk(Path("d"), skipped))
    finally:
        sys.setrecursionlimit(limit)
    assert [path.name for path in found] == ["leaf.py"]
    assert skipped == []


def test_a_submodule_is_read_by_its_own_rules(tmp_path):
    """git lists a submodule's files by asking the submodule: so does this test."""
    inner = tmp_path / "vendor/lib"
    inner.mkdir(parents=True)
    (tmp_path / ".gitignore").write_text("*.txt\n")
    for folder in (tmp_path, inner):
        (folder / "a.txt").write_text("text")
        (folder / "a.py").write_text("x = 1")
        (folder / "b.c").write_text("int x;")
    (inner / ".gitignore").write_text("*.c\n")

    def listed(folder: Path) -> set[str]:
        subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
        command = ["git", "ls-files", "--others", "--exclude-standard"]
        done = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
        return {name for name in done.stdout.split() if not name.startswith(".")}

    expected = {f"vendor/lib/{name}" for name in listed(inner)}
    expected |= {name for name in listed(tmp_path) if not name.startswith("vendor")}
    assert expected == {"a.py", "b.c", "vendor/lib/a.py", "vendor/lib/a.txt"}
    assert {p.path for p in read_source(tmp_path, [])} == expected


def test_rules_of_all_folders_up_to_the_repository_apply(tmp_path):
    write(
        tmp_path,
        {
            ".gitignore": "*.log\n",  # outside the repository
            "top/.git/HEAD": "",
            "top/.gitignore": "*.tmp\n",
            "top/a/.gitignore": "*.bak\n",
            "top/a/b/c/x.tmp": "",
            "top/a/b/c/x.bak": "",
            "top/a/b/c/x.log": "",
        },
    )
    assert walked(tmp_path / "top/a/b/c") == ["x.log"]


def test_excludes_outside_the_worktree_count_as_for_git(tmp_path, monkeypatch):
    """In a linked worktree and a submodule `.git` is a file."""
    main, linked, module = (tmp_path / name for name in ("main", "linked", "main/module"))
    who = ("-c", "user.name=a", "-c", "user.email=a", "-c", "protocol.file.allow=always")
    write(tmp_path, dict.fromkeys(["main/a.py", "other/c.py"], "x"))
    for folder in (main, tmp_path / "other"):
        git(folder, "init", "-q")
        git(folder, "add", ".")
        git(folder, *who, "commit", "-qm", "all")
    git(main, *who, "submodule", "--quiet", "add", str(tmp_path / "other"), "module")
    git(main, "worktree", "add", "-q", str(linked))
    (main / ".git/info/exclude").write_text("*.tmp\n")
    (main / ".git/modules/module/info").mkdir(exist_ok=True)
    (main / ".git/modules/module/info/exclude").write_text("*.bak\n")
    configuration = tmp_path / "gitconfig"
    configuration.write_text("[user]\n name = x\n[core]\n\texcludesFile = ~/rules\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(configuration))
    (tmp_path / "rules").write_text("*.log\n!kept.tmp\n")
    for folder in (main, linked, module):
        write(folder, dict.fromkeys(["x.log", "x.tmp", "kept.tmp", "x.bak", "x.c"], ""))
        command = ["git", "ls-files", "-co", "--exclude-standard", "-z"]
        listed = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
        names = {name for name in listed.stdout.split("\0") if name and name != "module"}
        expected = {name for name in names if not name.startswith(".")}
        inside = {name for name in walked(folder) if not name.startswith("module/")}
        assert inside == expected
        assert "x.log" not in inside


def test_hidden_folders_that_a_pattern_names_are_walked(tmp_path):
    names = [".github/workflows/ci.yml", ".github/a.md", ".git/config", ".env", ".venv/a.py"]
    write(tmp_path, dict.fromkeys([*names, "a.py"], "x"))

    def selected(*include: str) -> list[str]:
        entries = walk(tmp_path, [], Selection(include=include))
        return [str(Path(entry).relative_to(tmp_path)) for entry in entries]

    assert selected(".github/**") == [".github/a.md", ".github/workflows/ci.yml"]
    assert selected(".github/workflows/", "*.py") == ["a.py", ".github/workflows/ci.yml"]
    assert selected(".e*") == [".env"]
    assert selected("**/*.md", "*", "**") == ["a.py"]
    assert ".git/config" not in selected(".*", ".git/**")


def test_rule_files_that_are_pipes_or_huge_are_not_read(tmp_path):
    write(tmp_path, {"a.py": "", "d/b.py": ""})
    os.mkfifo(tmp_path / ".gitignore")
    with (tmp_path / "d/.gitignore").open("wb") as file:
        file.truncate(1 << 40)
    assert walked(tmp_path) == ["a.py", "d/b.py"]


def test_a_byte_order_mark_is_not_part_of_the_first_rule(tmp_path):
    write(tmp_path, {".gitignore": "\ufeff*.log\n", "a.log": "", "a.py": ""})
    assert walked(tmp_path) == ["a.py"]


def test_a_folder_that_cannot_be_read_is_skipped(tmp_path, monkeypatch):
    write(tmp_path, {"a.py": "", "closed/b.py": "", "open/c.py": ""})
    scandir = os.scandir

    def refusing(folder):
        if str(folder).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refusing)
    skipped: list[SkippedFile] = []
    assert [entry.name for entry in walk(tmp_path, skipped)] == ["a.py", "c.py"]
    assert skipped == [SkippedFile(f"{tmp_path}/closed", "Permission denied", unreadable=True)]
