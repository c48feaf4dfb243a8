"""The hits of one query, in the form that was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..indexes.engine import NO_TUNING
from ..search.explain import Explanation, explained
from ..types import Hit
from .console import output, print_json

if TYPE_CHECKING:
    from ..index import Index
    from ..search.result import SearchResult
    from .snippets import Mark


@dataclass(frozen=True)
class Form:
    """What is printed: JSON, one of grep's forms, or else lines for people."""

    json: bool = False
    explain: bool = False
    lines: bool = False
    files: bool = False
    counts: bool = False

    def check(self) -> None:
        """Raises InputError for two forms at once."""
        forms = {"--json": self.json, "-n": self.lines, "-l": self.files, "-c": self.counts}
        asked = [name for name, wanted in forms.items() if wanted]
        if len(asked) > 1:
            raise InputError(f"{asked[0]} and {asked[1]} are two forms of output: leave one out")
        if self.explain and asked not in ([], ["--json"]):
            raise InputError(f"--explain says more than {asked[0]} has room for: leave one out")


def print_hits(
    index: Index,
    found: SearchResult,
    hits: Sequence[Hit],
    form: Form,
    root: Path | None,
    tuning: Mapping[str, int] = NO_TUNING,
) -> None:
    """found: by what they were found, with this tuning. root: what the hits' paths are relative
    to."""
    explanations: dict[str, Explanation] = {}
    if form.explain:
        reasons = explained(index, found, [hit.id for hit in hits], tuning)
        explanations = {explanation.id: explanation for explanation in reasons}
    if form.json:
        for hit in hits:
            value = hit.to_json()
            if form.explain:
                value["matches"] = explanations[hit.id].to_json()
            print_json(value)
        return
    console = output()
    if form.files:
        from .grep import print_files

        print_files(hits, root, console)
        return
    marks = _marks(index, found, hits, explanations)
    if form.lines or form.counts:
        from .grep import print_counts, print_lines

        (print_lines if form.lines else print_counts)(hits, marks, root, console)
        return
    from .explanations import reason_lines
    from .terminal import show

    lines = {id: reason_lines(explanation) for id, explanation in explanations.items()}
    show(hits, marks, root, console, lines)


def _marks(
    index: Index, found: SearchResult, hits: Sequence[Hit], explanations: Mapping[str, Explanation]
) -> dict[str, Sequence[Mark]]:
    """By id, the pieces of each hit's text that answer."""
    if explanations:
        return {hit.id: explanations[hit.id].marks for hit in hits}
    from ..search.explain import marks_of

    passages = index.folder.passages([hit.id for hit in hits])
    marks = marks_of(index, found, passages)
    return {passage.id: each for passage, each in zip(passages, marks, strict=True)}
