"""Encoders for MTEB (`mteb.evaluate`, version 2) and for BEIR's `DenseRetrievalExactSearch`.

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
from .peers import check_encoder

if TYPE_CHECKING:
    from ..index import Index
    from ..protocols import DocumentEncoder


class BeirModel:
    """A dense encoder for BEIR's `DenseRetrievalExactSearch`, with `score_function="dot"`.

    Args:
        encoder: A dense encoder.

    Raises:
        InputError: The encoder is late-interaction, whose scores are not products of two vectors.

    Example:
        >>> from mbert_retrieval import load_encoder
        >>> model = BeirModel(load_encoder("nano", "dense"))
        >>> tuple(model.encode_queries(["read json", "sort a list"]).shape)
        (2, 256)
    """

    def __init__(self, encoder: DocumentEncoder) -> None:
        self.encoder = _check_dense(encoder, "BEIR's exact search")

    def encode_queries(self, queries: list[str], batch_size: int = 0, **ignored: Any) -> Any:
        """Encode queries.

        Args:
            queries: The texts.
            batch_size: Ignored: the encoder makes its own batches.
            **ignored: Other options of BEIR.

        Returns:
            (queries, dimension) float32 tensor.
        """
        return _tensor(self.encoder.encode_queries(list(queries)).values)

    def encode_corpus(
        self, corpus: Sequence[Mapping[str, str]], batch_size: int = 0, **ignored: Any
    ) -> Any:
        """Encode documents, title and text joined by a space.

        Args:
            corpus: Documents with "text" and optionally "title".
            batch_size: Ignored: the encoder makes its own batches.
            **ignored: Other options of BEIR.

        Returns:
            (documents, dimension) float32 tensor.
        """
        texts = [titled(document.get("title"), document["text"]) for document in corpus]
        return _tensor(_rows(self.encoder, texts))


def for_mteb(encoder: DocumentEncoder) -> MtebEncoder | MtebSearch:
    """Wrap an encoder for `mteb.evaluate` (Muennighoff et al. 2023, arXiv 2210.07316).

    Args:
        encoder: Any encoder.

    Returns:
        A model for all kinds of tasks if the encoder is dense; for retrieval and reranking if it is
        late-interaction.

    Example:
        >>> from mbert_retrieval import load_encoder
        >>> type(for_mteb(load_encoder("nano", "late"))).__name__
        'MtebSearch'
    """
    check_encoder(encoder)
    return MtebEncoder(encoder) if encoder.kind == "dense" else MtebSearch(encoder)


class _MtebModel:
    """Base class with the metadata that MTEB reads from every model."""

    def __init__(self, encoder: DocumentEncoder) -> None:
        self.encoder = encoder

    @property
    def mteb_model_meta(self) -> Any:
        """Name, revision (the fingerprint) and dimension, for MTEB's result files."""
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
    """A dense encoder with MTEB's `EncoderProtocol`.

    Args:
        encoder: A dense encoder.

    Raises:
        InputError: The encoder is late-interaction.
    """

    def __init__(self, encoder: DocumentEncoder) -> None:
        super().__init__(_check_dense(encoder, "MTEB's encoder protocol"))

    def encode(self, inputs: Any, *, prompt_type: Any = None, **ignored: Any) -> np.ndarray:
        """Encode texts.

        Args:
            inputs: Batches with "text".
            prompt_type: MTEB's `PromptType`; texts are documents unless it says "query".
            **ignored: Other options of MTEB.

        Returns:
            (texts, dimension) float32.
        """
        texts = [text for batch in inputs for text in batch["text"]]
        if getattr(prompt_type, "value", prompt_type) == "query":
            return self.encoder.encode_queries(texts).values
        return _rows(self.encoder, texts)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Return the cosines of all pairs of unit vectors, (a, d) and (b, d) to (a, b)."""
        return _tensor(embeddings1) @ _tensor(embeddings2).T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Return the cosines of rows of unit vectors, (a, d) and (a, d) to (a,)."""
        return (_tensor(embeddings1) * _tensor(embeddings2)).sum(-1)


class MtebSearch(_MtebModel):
    """Any encoder with an exact index, by MTEB's `SearchProtocol`.

    Args:
        encoder: Any encoder.
    """

    def __init__(self, encoder: DocumentEncoder) -> None:
        super().__init__(encoder)
        self._folder: TemporaryDirectory[str] | None = None
        self._index: Index | None = None
        self._documents = 0

    def index(self, corpus: Any, **ignored: Any) -> None:
        """Index the documents.

        Args:
            corpus: Rows with "id", "text" and optionally "title".
            **ignored: Other options of MTEB.
        """
        from ..index import Index

        self._folder = TemporaryDirectory()
        passages = (Passage(str(row["id"]), row["text"], row.get("title") or "") for row in corpus)
        self._documents = len(corpus)
        self._index = Index.build(
            Path(self._folder.name) / "index", passages, self.encoder, engine="flat", lexical=False
        )

    def search(
        self,
        queries: Any,
        *,
        top_k: int,
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        **ignored: Any,
    ) -> dict[str, dict[str, float]]:
        """Search the documents.

        Args:
            queries: Rows with "id" and "text".
            top_k: Number of results per query.
            top_ranked: Ids of the documents to rank for each query; by default all.
            **ignored: Other options of MTEB.

        Returns:
            Scores by query id and document id, best first.

        Raises:
            InputError: `index` was not called.
        """
        if self._index is None:
            raise InputError("there is no corpus: call index first")
        ids, texts = [str(row["id"]) for row in queries], [row["text"] for row in queries]
        depth = min(top_k, self._documents) if top_ranked is None else self._documents
        results = self._index.search_many(texts, depth, "vector")
        run: dict[str, dict[str, float]] = {}
        for query, result in zip(ids, results, strict=True):
            ranking = result.ranking
            if top_ranked is not None:
                candidates = set(top_ranked.get(query, ()))
                ranking = [pair for pair in ranking if pair[0] in candidates]
            run[query] = dict(ranking[:top_k])
        return run


def _check_dense(encoder: DocumentEncoder, interface: str) -> DocumentEncoder:
    check_encoder(encoder)
    if encoder.kind != "dense":
        raise InputError(
            f"{interface} takes one vector per text, and {encoder.name} is late-interaction: "
            "use a dense encoder, or `for_mteb`, which searches with an exact index"
        )
    return encoder


def _rows(encoder: DocumentEncoder, texts: list[str]) -> np.ndarray:
    """Return (texts, dimension) float32 vectors of documents."""
    chunks = [chunk.values for chunk in encoder.stream_documents(texts)]
    return np.concatenate(chunks) if chunks else np.zeros((0, encoder.dimension), np.float32)


def _tensor(values: Any) -> Any:
    import torch

    return torch.as_tensor(values)
