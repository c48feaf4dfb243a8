"""Indexes on disk: vector search (PLAID, FAISS, exact) and BM25. Arrays in, ids and scores out.

Nothing here depends on models: vectors arrive as `Packed`, already computed.
"""

from __future__ import annotations

from .folder import IndexFolder
from .manifest import EncoderIdentity, Leg
from .writer import FileState, Writer

__all__ = ["EncoderIdentity", "FileState", "IndexFolder", "Leg", "Writer"]
