"""What can be indexed, cut into passages: code, prose, `.jsonl` collections, BEIR folders."""

from __future__ import annotations

from .reading import read_source
from .selection import Selection
from .source import source_root
from .text import Skipped

__all__ = ["Selection", "Skipped", "read_source", "source_root"]
