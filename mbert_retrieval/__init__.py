"""Dense and late-interaction (ColBERT) retrieval on ModernBERT, for code and for long documents."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import InputError
from .packed import Packed
from .records import Hit, Passage

if TYPE_CHECKING:
    from .encoders import load_encoder
    from .index import Index

__all__ = ["Hit", "Index", "InputError", "Packed", "Passage", "load_encoder"]
__version__ = "0.1.0"


def __getattr__(name: str):  # torch and the index engines load when first asked for
    if name == "load_encoder":
        from .encoders import load_encoder

        return load_encoder
    if name == "Index":
        from .index import Index

        return Index
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
