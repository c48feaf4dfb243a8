"""What can be indexed, cut into passages: code, prose, `.jsonl` collections, BEIR folders."""

from __future__ import annotations

from .source import read_source, source_root
from .text import Skipped

__all__ = ["Skipped", "read_source", "source_root"]
