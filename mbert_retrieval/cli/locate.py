"""Where the index is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..sync.provenance import remembered

DEFAULT = ".mbert"


def index_for_sources(sources: Sequence[Path], named: Path | None) -> Path:
    """The index that `build` makes: the one named, or `.mbert` at the top of the repository that
    holds the sources, or in the one folder that is built where there is no repository."""
    from ..sources.ignore import repository_top

    if named is not None:
        return named
    tops = {repository_top(source.resolve()) for source in sources}
    top = tops.pop() if len(tops) == 1 else None
    if top is not None:
        return top / DEFAULT
    if len(sources) == 1 and sources[0].is_dir():
        return sources[0] / DEFAULT
    raise InputError(
        "name the index with --index DIR (only a single folder, or what is in one git repository, "
        "has a default)"
    )


def index_from_here(named: Path | None) -> Path:
    """The index that is there: the one named, or the nearest `.mbert` from here upward."""
    if named is not None:
        return named
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / DEFAULT).is_dir():
            return folder / DEFAULT
    raise InputError(
        f"no {DEFAULT} in this folder or above: name an index with --index DIR, "
        "or make one with mbert-index build"
    )


def check_same_sources(settings: dict[str, Any], index: Path, sources: Sequence[Path]) -> None:
    """Raises InputError when the one index of a repository is of other sources: building it of
    these would drop them."""
    before, _ = remembered(settings, index)
    if before and set(before) != set(sources):
        names = ", ".join(map(str, before))
        raise InputError(
            f"the index {index} is of {names}: use mbert-index add, or name another with --index"
        )
