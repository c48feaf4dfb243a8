"""By what the passages of an index can be filtered."""

from __future__ import annotations

from typing import Any

from ..index import Index

FIELDS = ("language", "kind")  # of the metadata
MOST_VALUES = 40


def facets(view: Index) -> dict[str, dict[str, int]]:
    """field -> its most frequent values, each with the number of passages that have it; fields
    that no passage has are left out."""
    found: dict[str, Any] = {}
    for name in FIELDS:
        values = view.folder.values_of(name, MOST_VALUES)
        if values:
            found[name] = values
    return found
