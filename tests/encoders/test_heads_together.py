"""Two heads of one network: the network runs once, and the vectors are those of each encoder."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest

from mbert_retrieval import Index, Passage, load_encoder
from mbert_retrieval.backbone import ModernBert
from mbert_retrieval.encoders.base import CHUNK_TEXTS

TEXTS = ["def parse(text): ...", "", "open a socket and read " * 40, "retry", "été"]


@pytest.fixture(scope="module")
def heads():
    return [load_encoder("nano", head, dtype="float32") for head in ("late", "dense")]


def test_vectors_are_those_of_each_encoder(heads):
    texts = TEXTS * (CHUNK_TEXTS // 3)
    chunks = list(heads[0].stream_documents_with(heads[1:], iter(texts)))
    assert len(chunks) > 1
    for head, encoder in enumerate(heads):
        expected = encoder.encode_documents(texts[:200])
        values = np.concatenate([chunk[head].values for chunk in chunks])[: len(expected.values)]
        np.testing.assert_allclose(values, expected.values, atol=1e-5)
        lengths = np.concatenate([chunk[head].lengths for chunk in chunks])
        assert np.array_equal(lengths[:200], expected.lengths)


def test_token_pooling_is_of_one_encoder_alone(heads):
    pooled = load_encoder("nano", "late", dtype="float32", pool_factor=2)
    ((ours, dense),) = pooled.stream_documents_with([heads[1]], TEXTS)
    expected = pooled.encode_documents(TEXTS)
    assert np.array_equal(ours.offsets, expected.offsets)
    np.testing.assert_allclose(ours.values, expected.values, atol=1e-5)
    assert dense.values.shape == (len(TEXTS), 256)


def test_others_are_encoded_apart(heads):
    late = heads[0]
    shorter = load_encoder("nano", "dense", dtype="float32", document_length=8)
    assert late.stream_documents_with([shorter], TEXTS) is None
    assert late.stream_documents_with([load_encoder("nano", "dense", dtype="int8")], TEXTS) is None
    changed = load_encoder("nano", "dense", dtype="float32")
    changed.backbone.final_norm.weight.detach().add_(1)
    assert late.stream_documents_with([changed], TEXTS) is None


def test_an_index_of_both_heads_runs_the_network_once(heads, tmp_path):
    passages = [Passage(id=str(n), text=text) for n, text in enumerate(TEXTS)]
    tokens = []
    forward = ModernBert.forward

    def counted(self, ids, *others):
        tokens.append(len(ids))
        return forward(self, ids, *others)

    with patch.object(ModernBert, "forward", counted):
        index = Index.build(tmp_path / "both", passages, heads)
        once = sum(tokens)
        tokens.clear()
        Index.build(tmp_path / "late", passages, heads[:1])
    assert once == sum(tokens)
    for encoder in heads:
        expected = encoder.encode_documents([passages[2].content])[0]
        stored = index.folder.vectors("2", encoder.kind)
        np.testing.assert_allclose(stored, expected, atol=1e-2)
