"""Embeddings against sentence-transformers, both ways: ours loads theirs, theirs loads ours."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from mbert_retrieval import InputError, load_encoder
from mbert_retrieval.encoders.spec import POOLINGS
from support.st_models import EXPANSIONS, st_dense, st_late
from support.tiny_models import TEXTS

pytestmark = pytest.mark.filterwarnings("ignore")


def assert_dense_equal(encoder, reference):
    queries = reference.encode_query(TEXTS, normalize_embeddings=True)
    documents = reference.encode_document(TEXTS, normalize_embeddings=True)
    ours = encoder.encode_queries(TEXTS)
    assert len(ours) == len(TEXTS)
    assert ours.values.dtype == np.float32
    np.testing.assert_allclose(ours.values, queries, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_documents(TEXTS).values, documents, atol=1e-5)


@pytest.mark.parametrize("pooling", [*POOLINGS, ("cls", "mean")])
@pytest.mark.parametrize("include_prompt", [True, False])
def test_dense_folders_both_ways(bare_folder, tmp_path, pooling, include_prompt):
    from sentence_transformers import SentenceTransformer

    reference = st_dense(bare_folder, pooling=pooling, dense=1, include_prompt=include_prompt)
    reference.save(str(tmp_path / "theirs"))
    encoder = load_encoder(tmp_path / "theirs")
    assert encoder.kind == "dense"
    assert encoder.dimension == 48
    assert_dense_equal(encoder, reference)
    encoder.save(tmp_path / "ours")
    assert_dense_equal(encoder, SentenceTransformer(str(tmp_path / "ours"), device="cpu"))
    assert_dense_equal(load_encoder(tmp_path / "ours"), reference)


def test_old_pooling_flags(bare_folder, tmp_path):
    from sentence_transformers import SentenceTransformer

    st_dense(bare_folder, pooling="max").save(str(tmp_path))
    flags = {f"pooling_mode_{m}_tokens": False for m in ("mean", "mean_sqrt_len", "max")}
    old = flags | {"word_embedding_dimension": 64, "pooling_mode_cls_token": True}
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(old))
    assert_dense_equal(load_encoder(tmp_path), SentenceTransformer(str(tmp_path), device="cpu"))


def test_matryoshka_truncation(bare_folder, tmp_path):
    reference = st_dense(bare_folder, dense=1)
    reference.save(str(tmp_path))
    encoder = load_encoder(tmp_path, truncate=16)
    expected = reference.encode_document(TEXTS, truncate_dim=16, normalize_embeddings=True)
    assert encoder.dimension == 16
    np.testing.assert_allclose(encoder.encode_documents(TEXTS).values, expected, atol=1e-5)


def test_without_normalisation_a_dot_product_model_stays_one(bare_folder, tmp_path):
    reference = st_dense(bare_folder, normalize=False)
    reference.similarity_fn_name = "dot"
    reference.save(str(tmp_path))
    ours = load_encoder(tmp_path).encode_documents(TEXTS).values
    np.testing.assert_allclose(ours, reference.encode_document(TEXTS), rtol=1e-5, atol=1e-5)


def test_bare_checkpoint_is_mean_pooled(bare_folder):
    from sentence_transformers import SentenceTransformer

    reference = SentenceTransformer(str(bare_folder), device="cpu")
    expected = reference.encode(TEXTS, normalize_embeddings=True)
    ours = load_encoder(bare_folder).encode_documents(TEXTS).values
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def assert_late_equal(encoder, reference, texts=TEXTS):
    for ours, theirs in (
        (encoder.encode_queries(texts), reference.encode_query(texts, convert_to_numpy=True)),
        (encoder.encode_documents(texts), reference.encode_document(texts, convert_to_numpy=True)),
    ):
        assert ours.lengths.tolist() == [len(t) for t in theirs]
        np.testing.assert_allclose(ours.values, np.concatenate(theirs), atol=1e-5)


@pytest.mark.parametrize("expansion", EXPANSIONS.values(), ids=EXPANSIONS)
@pytest.mark.parametrize("skiplist", ["", ".,;:()"], ids=["all", "skiplist"])
def test_late_folders_both_ways(bare_folder, tmp_path, expansion, skiplist):
    from sentence_transformers import MultiVectorEncoder

    reference = st_late(bare_folder, expansion, skiplist)
    reference._register_prefix_tokens({"query": "[Q] ", "document": "[D] "})
    reference.save(str(tmp_path / "theirs"))
    encoder = load_encoder(tmp_path / "theirs")
    assert (encoder.kind, encoder.dimension) == ("late", 32)
    assert_late_equal(encoder, reference)
    if expansion and expansion["strategy"] == "min":
        with pytest.raises(InputError, match="fixed length"):
            encoder.save(tmp_path / "ours")
        return
    encoder.save(tmp_path / "ours")
    theirs = MultiVectorEncoder(str(tmp_path / "ours"), device="cpu")
    assert_late_equal(encoder, theirs)
    assert_late_equal(load_encoder(tmp_path / "ours"), reference)


def test_query_length_without_expansion(bare_folder, tmp_path):
    reference = st_late(bare_folder, query_length=9)
    reference._register_prefix_tokens({"query": "[Q] ", "document": "[D] "})
    reference.save(str(tmp_path))
    encoder = load_encoder(tmp_path)
    assert encoder.encode_queries([TEXTS[4]]).lengths.tolist() == [9]
    assert_late_equal(encoder, reference)


def test_stanford_folder(bare_folder, tmp_path):
    """The layout of colbert-ir/colbertv2.0, as sentence-transformers reads it."""
    from safetensors.torch import load_file, save_file
    from sentence_transformers import MultiVectorEncoder

    folder = shutil.copytree(bare_folder, tmp_path / "stanford")
    tensors = load_file(folder / "model.safetensors")
    tensors = {f"model.{name}": t for name, t in tensors.items()}
    tensors["linear.weight"] = torch.randn(16, 64, generator=torch.Generator().manual_seed(5))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["architectures"] = ["HF_ColBERT"]
    (folder / "config.json").write_text(json.dumps(config))
    metadata = {
        "query_token_id": "[Q]",
        "doc_token_id": "[D]",
        "query_maxlen": 20,
        "doc_maxlen": 50,
        "mask_punctuation": True,
        "attend_to_mask_tokens": False,
    }
    (folder / "artifact.metadata").write_text(json.dumps(metadata))
    encoder = load_encoder(folder)
    assert (encoder.kind, encoder.dimension) == ("late", 16)
    assert_late_equal(encoder, MultiVectorEncoder(str(folder), device="cpu"))


@pytest.mark.parametrize("factor", [1.5, 3.0])
def test_token_pooling(bare_folder, tmp_path, factor):
    from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling

    reference = st_late(bare_folder)
    reference._register_prefix_tokens({"query": "[Q] ", "document": "[D] "})
    reference.save(str(tmp_path))
    encoder = load_encoder(tmp_path, pool_factor=factor)
    theirs = reference.encode_document(
        TEXTS, convert_to_numpy=True, token_pooling=HierarchicalTokenPooling(factor)
    )
    ours = encoder.encode_documents(TEXTS)
    assert ours.lengths.tolist() == [len(t) for t in theirs]
    for mine, their in zip(ours, theirs, strict=True):
        order, expected = np.lexsort(mine.T.round(4)), np.lexsort(their.T.round(4))
        np.testing.assert_allclose(mine[order], their[expected], atol=1e-4)
    assert encoder.encode_queries(TEXTS).lengths.tolist() == [
        len(t) for t in reference.encode_query(TEXTS)
    ]
