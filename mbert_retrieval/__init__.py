"""Dense and late-interaction (ColBERT) retrieval on ModernBERT, for code and for long documents.

    from mbert_retrieval import Index, Passage, load_encoder

    encoder = load_encoder("nano")
    passages = [Passage(id="1", text="def parse_date(text): ..."), Passage(id="2", text="...")]
    index = Index.build("my.index", passages, encoder)
    for hit in index.search("where are dates parsed", k=10):
        print(hit.rank, hit.score, hit.passage.id, hit.passage.text)

`Index` builds and searches, `load_encoder` loads `nano`, a folder or a model of the Hugging Face
hub, `Passage` goes in, `Hit` comes out, `Packed` holds vectors of texts of any length, and
`InputError` says in one line what is wrong and what to do.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .errors import InputError, LockedError, NotFoundError, UntrustedError
from .types import Hit, Passage

if TYPE_CHECKING:
    from .encoders import load_encoder
    from .index import Index
    from .packed import Packed
    from .search.result import SearchResult

__all__ = [
    "Hit",
    "Index",
    "InputError",
    "LockedError",
    "NotFoundError",
    "Packed",
    "Passage",
    "SearchResult",
    "UntrustedError",
    "load_encoder",
]
__version__ = "0.1.0"

# what needs numpy, torch or an index engine is imported when it is first used
_LAZY = {
    "Index": ".index",
    "Packed": ".packed",
    "SearchResult": ".search.result",
    "load_encoder": ".encoders",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
