"""Load an encoder folder that may be damaged, and encode with it."""

from __future__ import annotations

from mbert_retrieval import InputError, load_encoder
from mbert_retrieval.encoders import load_query_encoder


def use(folder: str) -> str:
    """Return "answers" or "refused". Raises for everything else than a clear refusal."""
    refused = False
    for load in (load_encoder, load_query_encoder):
        try:
            encoder = load(folder)
            encoder.encode_queries(["where are dates parsed"])
            if load is load_encoder:
                encoder.encode_documents(["def parse_date(text): ...", "x"])
        except InputError as error:
            refused = True
            if "\n" in str(error):
                raise ValueError(f"not one line: {error!s:.200}") from error
    return "refused" if refused else "answers"
