"""MkDocs hook: the package's sources as they are installed, for mkdocstrings.

`indexes/` and `eval/` stand at the top of the repository and import as `mbert_retrieval.indexes`
and `mbert_retrieval.eval`, which reading the repository alone cannot tell. So the API reference is
read from a copy in `.docs-package/`. (Links would be resolved, and lead back to the repository.)
In the copy a docstring's section "Example" is called "Examples", the only name that is set as code.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = re.compile(r"^( +)Example:$", re.MULTILINE)
COPY = ROOT / ".docs-package" / "mbert_retrieval"


def on_startup(**_: Any) -> None:
    """Make the copy, before mkdocstrings looks for it in its own `on_config`."""
    shutil.rmtree(COPY.parent, ignore_errors=True)
    for source, target in (
        (ROOT / "mbert_retrieval", COPY),
        (ROOT / "indexes", COPY / "indexes"),
        (ROOT / "eval", COPY / "eval"),
    ):
        for file in [*source.rglob("*.py"), *source.rglob("*.pyi")]:
            copied = target / file.relative_to(source)
            copied.parent.mkdir(parents=True, exist_ok=True)
            text = file.read_text(encoding="utf-8")
            copied.write_text(EXAMPLE.sub(r"\1Examples:", text), encoding="utf-8")
