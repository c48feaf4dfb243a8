"""Where a git repository has its files: `.git` may be a file that names another folder."""

from __future__ import annotations

import os
import re
from pathlib import Path

_SECTION = re.compile(r"\s*\[\s*(\w+)\s*\]")
_EXCLUDES_FILE = re.compile(r"\s*excludesfile\s*=\s*\"?([^\"#;\n]+)", re.IGNORECASE)


def repository_top(folder: Path) -> Path | None:
    """Return the nearest folder that contains `.git`: `folder` itself or one above."""
    return next((f for f in (folder, *folder.parents) if os.path.exists(f / ".git")), None)


def common_folder(git: Path) -> Path | None:
    """Return the folder that all worktrees share.

    git: the `.git` of one of them, or of a submodule. None where it is
    neither a folder nor names one.
    """
    if git.is_dir():
        return git
    for line in _lines(git):
        if line.startswith("gitdir: "):
            own = (git.parent / line.removeprefix("gitdir: ")).resolve()
            for common in _lines(own / "commondir"):
                return (own / common).resolve()
            return own
    return None


def exclude_files(top: Path) -> list[Path]:
    """Return the files of ignore rules outside the worktree, those that count least first.

    They are that of git's setting `core.excludesFile`, and `info/exclude` of the repository.
    """
    common = common_folder(top / ".git")
    home = Path.home()
    settings = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "git"
    excludes = settings / "ignore"
    configurations = [Path("/etc/gitconfig"), settings / "config", home / ".gitconfig"]
    if "GIT_CONFIG_GLOBAL" in os.environ:
        configurations[1:] = [Path(os.environ["GIT_CONFIG_GLOBAL"])]
    for file in [*configurations, *([common / "config"] if common else [])]:
        if named := _excludes_file(file):
            excludes = top / Path(named).expanduser()
    return [excludes, *([common / "info/exclude"] if common else [])]


def _excludes_file(configuration: Path) -> str:
    """Return `core.excludesFile` of a configuration file, "" if it is not set there."""
    section = named = ""
    for line in _lines(configuration):
        if match := _SECTION.match(line):
            section = match[1].lower()
        elif section == "core" and (match := _EXCLUDES_FILE.match(line)):
            named = match[1].strip()
    return named


def _lines(file: Path) -> list[str]:
    if not file.is_file():
        return []
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
