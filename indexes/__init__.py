"""Indexes on disk: exact and FAISS vector search, BM25, fusion. Arrays in, ids and scores out.

Nothing here knows of models: vectors arrive as `Packed`, already computed.
"""

from __future__ import annotations

from ..search.fusion import fuse
from .folder import IndexFolder
from .manifest import EncoderIdentity, Leg
from .writer import FileState, Writer

__all__ = ["EncoderIdentity", "FileState", "IndexFolder", "Leg", "Writer", "fuse"]
