"""Tables of README.md are written by the scripts that measured them, between markers."""

from __future__ import annotations

import re
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"


def write_table(name: str, text: str, path: Path = README) -> None:
    """Put `text` between `<!-- NAME:begin -->` and `<!-- NAME:end -->`, and print it.

    Raises ValueError when the file has no such markers.
    """
    pattern = re.compile(rf"(<!-- {name}:begin -->\n).*?(<!-- {name}:end -->)", re.DOTALL)
    old = path.read_text(encoding="utf-8")
    if not pattern.search(old):
        raise ValueError(f"{path} has no {name} markers")
    path.write_text(pattern.sub(lambda m: f"{m[1]}{text}\n{m[2]}", old), encoding="utf-8")
    print(text)
