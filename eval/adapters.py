"""Our encoders inside MTEB (`mteb.evaluate`, 2.x) and inside BEIR's `DenseRetrievalExactSearch`.

import mteb
from mbert_retrieval import load_encoder
from mbert_retrieval.eval.adapters import for_mteb

mteb.evaluate(for_mteb(load_encoder("nano")), mteb.get_task("SciFact"))
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..types import Passage, titled

if TYPE_CHECKING:
    from ..index import Index
    from ..protocols import DocumentEncoder


class BeirModel:
    """A dense encoder as `DenseRetrievalExactSearch` takes one; scores by its "dot".

    Raises InputError for a late-interaction encoder, whose scores are no products of two rows.
    """

    def __init__(self, encoder: DocumentEncoder) -> None:
        self.encoder = _dense(encoder, "BEIR's exact search")

    def encode_queries(self, queries: list[str], batch_size: int = 0, **ignored: Any) -> Any:
        """(queries, dimension) float32 tensor. The encoder makes its own batches."""
        return _tensor(self.encoder.encode_queries(list(queries)).values)

    def encode_corpus(
        self, corpus: Sequence[Mapping[str, str]], batch_size: int = 0, **ignored: Any
    ) -> Any:
        """(documents, dimension) float32 tensor of title and text joined by a space."""
        texts = [titled(document.get("title"), document["text"]) for document in corpus]
        return _tensor(_rows(self.encoder, texts))


def for_mteb(encoder: DocumentEncoder) -> MtebEncoder | MtebSearch:
    """The encoder as MTEB takes one: a dense one for every kind of task, a late-interaction one for
    retrieval and reranking."""
    return MtebEncoder(encoder) if encoder.kind == "dense" else MtebSearch(encoder)


class _MtebModel:
    """What MTEB asks of every model."""

    def __init__(self, encoder: DocumentEncoder) -> None:
        self.encoder = encoder

    @property
    def mteb_model_meta(self) -> Any:
        """Name, fingerprint (as the revision) and dimension, for MTEB's result files."""
        from mteb.models import ModelMeta

        late = self.encoder.kind == "late"
        name = self.encoder.name.removeprefix("st:")
        parts = [part for part in Path(name).parts if part not in ("/", "\\")]
        return ModelMeta.create_empty(
            {
                "name": "/".join(parts[-2:]) if len(parts) > 1 else f"mbert-retrieval/{name}",
                "revision": self.encoder.fingerprint[:12],
                "embed_dim": self.encoder.dimension,
                "similarity_fn_name": "MaxSim" if late else "dot",
                "model_type": ["late-interaction" if late else "dense"],
                "framework": ["PyTorch"],
            }
        )


class MtebEncoder(_MtebModel):
    """A dense encoder (MTEB's `EncoderProtocol`). Texts are documents unless MTEB says queries."""

    def __init__(self, encoder: DocumentEncoder) -> None:
        super().__init__(_dense(encoder, "MTEB's encoder protocol"))

    def encode(self, inputs: Any, *, prompt_type: Any = None, **ignored: Any) -> np.ndarray:
        """inputs: batches with "text"; (texts, dimension) float32."""
        texts = [text for batch in inputs for text in batch["text"]]
        if getattr(prompt_type, "value", prompt_type) == "query":
            return self.encoder.encode_queries(texts).values
        return _rows(self.encoder, texts)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """(a, d) and (b, d) to (a, b) products; unit rows, so cosines."""
        return _tensor(embeddings1) @ _tensor(embeddings2).T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """(a, d) and (a, d) to (a,) products."""
        return (_tensor(embeddings1) * _tensor(embeddings2)).sum(-1)


class MtebSearch(_MtebModel):
    """Any encoder with our exact index (MTEB's `SearchProtocol`)."""

    def __init__(self, encoder: DocumentEncoder) -> None:
        super().__init__(encoder)
        self._folder: TemporaryDirectory[str] | None = None
        self._index: Index | None = None
        self._documents = 0

    def index(self, corpus: Any, **ignored: Any) -> None:
        """corpus: rows with "id", "text" and perhaps "title"."""
        from ..index import Index

        self._folder = TemporaryDirectory()
        passages = (Passage(str(row["id"]), row["text"], row.get("title") or "") for row in corpus)
        self._documents = len(corpus)
        self._index = Index.build(
            Path(self._folder.name) / "index", passages, self.encoder, kind="flat", lexical=False
        )

    def search(
        self,
        queries: Any,
        *,
        top_k: int,
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        **ignored: Any,
    ) -> dict[str, dict[str, float]]:
        """queries: rows with "id" and "text". top_ranked: rank only these documents of a query.

        Raises InputError before `index`.
        """
        if self._index is None:
            raise InputError("there is no corpus yet: index it first")
        ids, texts = [str(row["id"]) for row in queries], [row["text"] for row in queries]
        depth = min(top_k, self._documents) if top_ranked is None else self._documents
        results = self._index.search_many(texts, depth, "vector")
        found: dict[str, dict[str, float]] = {}
        for query, result in zip(ids, results, strict=True):
            ranking = result.ranking
            if top_ranked is not None:
                wanted = set(top_ranked.get(query, ()))
                ranking = [pair for pair in ranking if pair[0] in wanted]
            found[query] = dict(ranking[:top_k])
        return found


def _dense(encoder: DocumentEncoder, what: str) -> DocumentEncoder:
    if encoder.kind != "dense":
        raise InputError(
            f"{what} takes one vector a text, and {encoder.name} is late-interaction: "
            "use a dense encoder, or `for_mteb`, which searches with our index"
        )
    return encoder


def _rows(encoder: DocumentEncoder, texts: list[str]) -> np.ndarray:
    """(texts, dimension) float32 of documents."""
    chunks = [chunk.values for chunk in encoder.stream_documents(texts)]
    return np.concatenate(chunks) if chunks else np.zeros((0, encoder.dimension), np.float32)


def _tensor(values: Any) -> Any:
    import torch

    return torch.as_tensor(values)
