"""Read sources and split them into passages: code, prose, `.jsonl` collections, BEIR folders.

A source is scanned (`scan`), its files are read and decoded (`passages`, `decode`), and their text
is split (`split`): code at its definitions (`syntax_tree`, or `indentation` where no grammar is at
hand), documents at their headings (`prose`, `html`, `pdf`). To add a language, see `languages`.
"""

from __future__ import annotations

from .passages import read_source
from .paths import source_root
from .selection import Selection
from .walk import SkippedFile

__all__ = ["Selection", "SkippedFile", "read_source", "source_root"]
