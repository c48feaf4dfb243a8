"""Encoders: batching, streaming, lengths, and folders that must be refused."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from contextlib import contextmanager
from unittest.mock import PropertyMock, patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbert_retrieval import InputError, load_encoder
from mbert_retrieval.encoders import base
from mbert_retrieval.encoders.base import chunked, token_batches
from mbert_retrieval.encoders.encoder import CACHED_ACTIVATIONS
from mbert_retrieval.encoders.inputs import InputSpec
from support.st_models import EXPANSIONS, st_late


@given(
    lengths=st.lists(st.integers(0, 300), max_size=60),
    budget=st.integers(1, 500),
)
def test_token_batches_cover_everything_within_the_budget(lengths, budget):
    batches = list(token_batches(np.array(lengths, dtype=np.int64), budget))
    assert [i for b in batches for i in range(b.start, b.stop)] == list(range(len(lengths)))
    for batch in batches:
        inside = lengths[batch]
        assert sum(inside) <= budget or len([n for n in inside if n]) == 1


@given(st.lists(st.text(max_size=50), max_size=200))
def test_chunks_keep_every_text_in_order(texts):
    assert [t for chunk in chunked(iter(texts)) for t in chunk] == texts


def test_chunks_have_few_texts():
    assert max(len(chunk) for chunk in chunked(["a"] * 2000)) <= base.CHUNK_TEXTS


def test_chunks_have_few_characters():
    longest = base.CHUNK_CHARACTERS // 4
    sizes = [sum(map(len, chunk)) for chunk in chunked(["a" * longest] * 12)]
    assert max(sizes) < base.CHUNK_CHARACTERS + longest


@pytest.fixture(scope="module")
def encoder(tiny_encoder_folder):
    return load_encoder(tiny_encoder_folder)


@contextmanager
def recorded_batches(encoder, budget=None):
    """Record the lengths of each batch that reaches the network, whose budget may be set."""
    batches, forward = [], encoder._forward

    def record(ids, *arguments):
        batches.append(ids.lengths.tolist())
        return forward(ids, *arguments)

    budget = budget or encoder.token_budget
    with (
        patch.object(encoder, "_forward", record),
        patch.object(type(encoder), "token_budget", PropertyMock(return_value=budget)),
    ):
        yield batches


@settings(deadline=None, max_examples=15)
@given(
    texts=st.lists(st.text(max_size=400), min_size=1, max_size=12),
    budget=st.sampled_from([1, 40, 10_000]),
)
def test_vectors_do_not_depend_on_the_batch(encoder, texts, budget):
    """Any text, any order, any batch: the same vectors as when it is encoded alone."""
    alone = [encoder.encode_documents([text]).values for text in texts]
    with recorded_batches(encoder, budget) as batches:
        together = encoder.encode_documents(texts)
    assert all(sum(lengths) <= budget or len(lengths) == 1 for lengths in batches)
    assert len(batches) == (len(texts) if budget == 1 else 1) or budget == 40
    for mine, expected in zip(together, alone, strict=True):
        np.testing.assert_allclose(mine, expected, atol=2e-5)
    np.testing.assert_allclose(np.linalg.norm(together.values, axis=1), 1, atol=1e-5)


def test_expanded_queries_do_not_depend_on_the_batch(bare_folder, tmp_path):
    """Each query has its own count of tokens that others attend to."""
    st_late(bare_folder, EXPANSIONS["unattended"]).save(str(tmp_path))
    encoder = load_encoder(tmp_path)
    texts = ["x", "return the list of files", "", "parse"]
    alone = [encoder.encode_queries([text]).values for text in texts]
    for budget in (1, 60, 10_000):
        with recorded_batches(encoder, budget):
            together = encoder.encode_queries(texts)
        for mine, expected in zip(together, alone, strict=True):
            np.testing.assert_allclose(mine, expected, atol=2e-5)


def test_the_network_gets_batches_within_the_encoders_own_budget(encoder):
    with recorded_batches(encoder) as batches:
        encoder.encode_documents(["file " * 300] * 40)  # 256 tokens each
    assert encoder.token_budget * encoder.backbone.config.hidden_size <= CACHED_ACTIVATIONS
    assert len(batches) > 1
    assert max(map(sum, batches)) <= encoder.token_budget


def test_streaming_holds_memory_flat(tiny_encoder_folder, monkeypatch):
    """An iterator goes in and chunks come out: what is held does not grow with what passes."""
    encoder = load_encoder(tiny_encoder_folder)
    monkeypatch.setattr(base, "CHUNK_TEXTS", 32)
    peaks = []
    for count in (64, 1024):
        tracemalloc.start()
        texts = (f"def f{i}(self): return open({i}).read()" for i in range(count))
        assert sum(len(chunk) for chunk in encoder.stream_documents(texts)) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0] + 200_000


def test_no_texts(tiny_encoder_folder):
    vectors = load_encoder(tiny_encoder_folder).encode_queries([])
    assert len(vectors) == 0
    assert vectors.values.shape == (0, 32)


def test_lengths_can_be_set(tiny_encoder_folder):
    encoder = load_encoder(tiny_encoder_folder, query_length=6, document_length=11)
    long = "parse the list of files " * 50
    assert encoder.encode_queries([long]).lengths.tolist() == [6]
    assert encoder.encode_documents([long]).lengths.tolist() == [11]
    with pytest.raises(InputError, match="from 4 to 8192"):
        load_encoder(tiny_encoder_folder, document_length=8193)


@pytest.mark.parametrize("length", [10, 40])
def test_an_expanded_query_has_the_length_that_is_set(bare_folder, tmp_path, length):
    st_late(bare_folder, EXPANSIONS["unattended"]).save(str(tmp_path))
    vectors = load_encoder(tmp_path, query_length=length).encode_queries(["x", "a list " * 100])
    assert vectors.lengths.tolist() == [length, length]


def test_a_long_document_is_read_to_the_end(tiny_encoder_folder):
    encoder = load_encoder(tiny_encoder_folder, document_length=8192)
    vectors = encoder.encode_documents(["file " * 9000, "a list"])
    assert vectors.lengths.tolist() == [8192, 5]
    assert np.isfinite(vectors.values).all()


def test_fingerprint_follows_what_decides_the_vectors(tiny_encoder_folder, tmp_path):
    same = load_encoder(tiny_encoder_folder).fingerprint
    copy = shutil.copytree(tiny_encoder_folder, tmp_path / "copy")
    assert load_encoder(copy).fingerprint == same
    assert load_encoder(copy, document_length=100).fingerprint != same
    assert load_encoder(copy, pool_factor=2).fingerprint != same
    path = copy / "1_Dense" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert load_encoder(copy).fingerprint != same


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_fingerprint_follows_the_tokenizer(folder):
    before = load_encoder(folder).fingerprint
    edit_json(folder / "tokenizer.json", normalizer={"type": "NFC"})
    assert load_encoder(folder).fingerprint != before


def test_fingerprint_follows_the_networks_settings(folder):
    before = load_encoder(folder).fingerprint
    edit_json(folder / "config.json", local_attention=32)
    assert load_encoder(folder).fingerprint != before


@pytest.mark.parametrize("side", ["query", "document"])
def test_fingerprint_follows_the_prompts(folder, side):
    before = load_encoder(folder).fingerprint
    edit_json(folder / "config_sentence_transformers.json", **{f"{side}_prefix": "other: "})
    assert load_encoder(folder).fingerprint != before


@pytest.fixture
def folder(tiny_encoder_folder, tmp_path):
    return shutil.copytree(tiny_encoder_folder, tmp_path / "copy")


def refused(folder, **options):
    with pytest.raises(InputError) as caught:
        load_encoder(folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_modules_stay_in_the_folder(folder):
    shutil.copytree(folder / "1_Dense", folder.parent / "outside")
    text = (folder / "modules.json").read_text().replace("1_Dense", "../outside")
    (folder / "modules.json").write_text(text)
    assert "leads out of the folder" in refused(folder)


def test_foreign_module(folder):
    text = (folder / "modules.json").read_text().replace("models.Dense", "models.CNN")
    (folder / "modules.json").write_text(text)
    assert "module CNN is not supported" in refused(folder)


def test_foreign_activation(folder):
    path = folder / "1_Dense" / "config.json"
    raw = json.loads(path.read_text()) | {"activation_function": "os.system"}
    path.write_text(json.dumps(raw))
    assert "'os.system' is not supported" in refused(folder)


def test_missing_tokenizer(folder):
    (folder / "tokenizer.json").unlink()
    assert "tokenizer.json is missing" in refused(folder)


def test_head_that_is_not_there(folder):
    assert "without a dense head" in refused(folder, head="dense")


def test_options_of_the_other_kind(folder, bare_folder):
    assert "needs a dense encoder" in refused(folder, truncate=8)
    assert "needs a late-interaction encoder" in refused(bare_folder, pool_factor=2)


def test_unknown_name():
    assert "unknown encoder 'no-such-encoder'" in refused("no-such-encoder")


def test_prefix_that_is_no_token_cannot_be_written(tiny_encoder_folder, tmp_path):
    encoder = load_encoder(tiny_encoder_folder)
    encoder.query = InputSpec("search query: ", 32)
    with pytest.raises(InputError, match="not one token"):
        encoder.save(tmp_path / "out")
