"""Indexes on disk: vector search (PLAID, FAISS, exact) and BM25. Arrays in, ids and scores out.

Nothing here depends on models: vectors arrive as `Packed`, already computed.
"""

from __future__ import annotations

from .file_state import FileState
from .folder import IndexFolder
from .manifest import EncoderIdentity, Leg
from .writer import Writer

__all__ = ["EncoderIdentity", "FileState", "IndexFolder", "Leg", "Writer"]
