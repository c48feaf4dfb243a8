"""Print the hits of one query in the form that the options ask for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from .console import print_json
from .styled import standard_output

if TYPE_CHECKING:
    from ..search.result import SearchResult


@dataclass(frozen=True)
class OutputForm:
    """The form of the output: JSON, one of grep's forms, or else lines for people."""

    json: bool = False
    explain: bool = False
    lines: bool = False
    files: bool = False
    counts: bool = False

    def check(self) -> None:
        """Raise InputError where two forms are chosen, or one that cannot show explanations."""
        forms = {"--json": self.json, "-n": self.lines, "-l": self.files, "-c": self.counts}
        chosen = [name for name, is_chosen in forms.items() if is_chosen]
        if len(chosen) > 1:
            raise InputError(
                f"{chosen[0]} and {chosen[1]} are two forms of output: use one of them"
            )
        if self.explain and chosen not in ([], ["--json"]):
            raise InputError(f"{chosen[0]} cannot show what --explain prints: use one of them")


def print_result(result: SearchResult, form: OutputForm, root: Path | None) -> None:
    """Print a result. root: folder that the paths of its passages are relative to."""
    explanations = result.explain() if form.explain else []
    if form.json:
        for number, hit in enumerate(result):
            value = hit.to_json()
            if explanations:
                value["matches"] = explanations[number].to_json()
            print_json(value)
        return
    output = standard_output()
    hits = result.hits
    if form.files:
        from .grep import print_files

        print_files(hits, root, output)
        return
    marks = [each.marks for each in explanations] if explanations else result.marks()
    if form.lines or form.counts:
        from .grep import print_counts, print_lines

        (print_lines if form.lines else print_counts)(hits, marks, root, output)
        return
    from .explanations import explanation_lines
    from .terminal import print_hits

    print_hits(hits, marks, root, output, [explanation_lines(each) for each in explanations])
