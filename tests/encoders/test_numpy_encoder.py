"""Queries without torch: against sentence-transformers, and against the encoder that uses torch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save_file

from mbert_retrieval import InputError, load_encoder
from mbert_retrieval.backbone.numpy_model import gelu
from mbert_retrieval.encoders import fingerprint as fingerprint_module
from mbert_retrieval.encoders import load_query_encoder
from mbert_retrieval.encoders.spec import ACTIVATIONS, POOLINGS
from support.st_models import EXPANSIONS, st_dense, st_late
from support.tiny_models import TEXTS, tiny_config, tiny_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")
LONG = "parse the list of files, and write to the file how python returns it. " * 40


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder


def assert_same(folder, texts=TEXTS, atol=1e-5, **options):
    """Everything that a query encoder promises, against the torch encoder; its vectors."""
    ours, full = load_query_encoder(folder, **options), load_encoder(folder, **options)
    assert (ours.name, ours.kind, ours.dimension) == (full.name, full.kind, full.dimension)
    assert ours.fingerprint == full.fingerprint
    mine, theirs = ours.encode_queries(texts), full.encode_queries(texts)
    assert mine.values.dtype == np.float32
    assert mine.lengths.tolist() == theirs.lengths.tolist()
    np.testing.assert_allclose(mine.values, theirs.values, atol=atol)
    return mine


@pytest.mark.parametrize("pooling", [*POOLINGS, ("cls", "mean")])
@pytest.mark.parametrize("include_prompt", [True, False])
def test_dense(bare_folder, tmp_path, pooling, include_prompt):
    reference = st_dense(bare_folder, pooling=pooling, dense=1, include_prompt=include_prompt)
    reference.save(str(tmp_path))
    mine = assert_same(tmp_path)
    expected = reference.encode_query(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(mine.values, expected, atol=1e-5)
    assert_same(tmp_path, truncate=16)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_projections(bare_folder, tmp_path, activation):
    from sentence_transformers.sentence_transformer.modules import Dense

    torch.manual_seed(6)
    reference = st_dense(bare_folder, normalize=False)
    for width in (64, 48):  # a residual as it is, then a projected one
        kind = getattr(torch.nn, activation)()
        layer = Dense(64, width, activation_function=kind, use_residual=True)
        reference.append(layer)
    reference.similarity_fn_name = "dot"
    reference.save(str(tmp_path))
    mine = assert_same(tmp_path, atol=1e-4)
    np.testing.assert_allclose(mine.values, reference.encode_query(TEXTS), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("expansion", EXPANSIONS.values(), ids=EXPANSIONS)
def test_late(bare_folder, tmp_path, expansion):
    reference = st_late(bare_folder, expansion, ".,;")
    reference._register_prefix_tokens({"query": "[Q] ", "document": "[D] "})
    reference.save(str(tmp_path))
    mine = assert_same(tmp_path)
    expected = reference.encode_query(TEXTS, convert_to_numpy=True)
    assert mine.lengths.tolist() == [len(vectors) for vectors in expected]
    np.testing.assert_allclose(mine.values, np.concatenate(expected), atol=1e-5)
    assert_same(tmp_path, pool_factor=2, query_length=10)


@pytest.mark.parametrize("prefix", ["", "model."])
def test_stanford(bare_folder, tmp_path, prefix):
    folder = shutil.copytree(bare_folder, tmp_path / "stanford")
    tensors = load((folder / "model.safetensors").read_bytes())
    tensors = {prefix + name: tensor for name, tensor in tensors.items()}
    tensors["linear.weight"] = torch.randn(16, 64, generator=torch.Generator().manual_seed(5))
    save_file(tensors, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text()) | {"architectures": ["HF_ColBERT"]}
    (folder / "config.json").write_text(json.dumps(config))
    metadata = {"query_token_id": "[Q]", "doc_token_id": "[D]", "query_maxlen": 60}
    (folder / "artifact.metadata").write_text(json.dumps(metadata))
    assert_same(folder)  # the expansion goes past the window of every word


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_stored_types(tiny_encoder_folder, tmp_path, dtype):
    folder = shutil.copytree(tiny_encoder_folder, tmp_path / "copy")
    for path in (folder / "model.safetensors", folder / "1_Dense" / "model.safetensors"):
        save_file({n: t.to(dtype) for n, t in load(path.read_bytes()).items()}, path)
    assert_same(folder)


def test_types_that_numpy_lacks_are_left_to_torch(tiny_encoder_folder, tmp_path):
    folder = shutil.copytree(tiny_encoder_folder, tmp_path / "copy")
    path = folder / "model.safetensors"
    tensors = {
        n: t.clamp(-100, 100).to(torch.float8_e5m2) for n, t in load(path.read_bytes()).items()
    }
    save_file(tensors, path)
    assert load_query_encoder(folder) is None
    assert len(load_encoder(folder).fingerprint) == 64


def test_shards(tmp_path):
    from transformers import ModernBertModel

    torch.manual_seed(0)
    ModernBertModel(tiny_config()).save_pretrained(tmp_path, max_shard_size="100KB")
    tiny_tokenizer().save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    assert_same(tmp_path)


@pytest.mark.parametrize(
    "changes", [{"norm_bias": True, "attention_bias": True, "mlp_bias": True}, {"layers": "local"}]
)
def test_other_shapes_against_transformers(tmp_path, changes):
    """Biases, and local layers alone; 500 tokens, many windows long."""
    from transformers import ModernBertModel

    if changes.pop("layers", None):
        changes["layer_types"] = ["sliding_attention"] * 4
    torch.manual_seed(2)
    network = ModernBertModel(tiny_config(**changes)).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.normal_()
    network.save_pretrained(tmp_path)
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(tmp_path)
    ours = load_query_encoder(tmp_path)
    for text in (LONG, "a list", ""):
        ids = tokenizer(text, truncation=True, max_length=500, return_tensors="pt")
        with torch.no_grad():
            expected = network(**ids).last_hidden_state[0].numpy()
        flat = ids["input_ids"][0].numpy()
        mine = ours.backbone.forward(flat, np.array([0, len(flat)]))
        np.testing.assert_allclose(mine, expected, atol=3e-5)
    assert_same(tmp_path, [LONG, "x", LONG[:700]])


@pytest.fixture(scope="module")
def networks(tiny_encoder_folder):
    folder = tiny_encoder_folder
    return load_query_encoder(folder).backbone, load_encoder(folder).backbone


@settings(deadline=None, max_examples=12)
@given(
    lengths=st.lists(st.integers(0, 300), min_size=1, max_size=4), seed=st.integers(0, 2**32 - 1)
)
def test_any_lengths(networks, lengths, seed):
    """A batch of random tokens, by the numpy network and by the torch one."""
    ours, full = networks
    generator = np.random.default_rng(seed)
    ids = generator.integers(0, 256, sum(lengths))
    attended = generator.random(sum(lengths)) < generator.random()
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    with torch.inference_mode():
        for seen in (None, attended):
            mask = None if seen is None else torch.from_numpy(seen)
            expected = full(torch.from_numpy(ids), torch.from_numpy(offsets), mask).numpy()
            mine = ours.forward(ids, offsets, seen)
            np.testing.assert_allclose(mine, expected, atol=5e-5)


def test_gelu():
    from scipy.special import erf

    x = np.linspace(-12, 12, 100_001)
    exact = x * (1 + erf(x / 2**0.5)) / 2
    np.testing.assert_allclose(gelu(x.astype(np.float32)), exact, atol=1e-6)


@pytest.mark.parametrize("head", ["late", "dense"])
def test_nano(head):
    texts = [
        "parse an ISO date",
        "",
        LONG,
        "naïve 你好 🙂 \x07",
        *(LONG[i : 3 * i] for i in range(50)),
    ]
    assert_same("nano", texts, head=head)


def test_no_queries():
    assert load_query_encoder("nano").encode_queries([]).values.shape == (0, 64)


def test_torch_is_not_imported():
    code = """
import sys
from mbert_retrieval.encoders import load_query_encoder
for head in ("late", "dense"):
    encoder = load_query_encoder("nano", head)
    encoder.encode_queries(["where are retries configured"])
    encoder.fingerprint
heavy = {"torch", "transformers", "huggingface_hub", "scipy", "faiss"} & set(sys.modules)
print(sorted(heavy))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def refused(folder, **options):
    with pytest.raises(InputError) as caught:
        load_query_encoder(folder, **options)
    with pytest.raises(InputError):
        load_encoder(folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_broken_folders_are_refused(tiny_encoder_folder, tmp_path):
    folder = shutil.copytree(tiny_encoder_folder, tmp_path / "copy")
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    tensors = load(whole)  # not mapped: the file is written over
    path.write_bytes(whole[:-1])
    assert "truncated or not a safetensors file" in refused(folder)
    path.write_bytes(b"")
    assert "truncated or not a safetensors file" in refused(folder)
    save_file({n: t for n, t in tensors.items() if n != "final_norm.weight"}, path)
    assert "lacks tensor final_norm.weight" in refused(folder)
    save_file(tensors | {"extra": torch.zeros(1)}, path)
    assert "unknown tensor extra" in refused(folder)
    save_file(tensors | {"final_norm.weight": torch.zeros(63)}, path)
    assert "has shape (63,)" in refused(folder)
    path.unlink()
    assert "model.safetensors is missing" in refused(folder)
    index = {"weight_map": {"a": "../copy/model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "not a plain file name" in refused(folder)
    assert "from 4 to 8192" in refused("nano", query_length=8193)
    assert "head must be dense or late" in refused("nano", head="both")


@pytest.fixture
def settled(monkeypatch):
    """As on any day but the first: what was just written is not cached otherwise."""
    monkeypatch.setattr("mbert_retrieval.files.SETTLED_NS", -1)


@pytest.fixture
def folder(tiny_encoder_folder, tmp_path):
    return shutil.copytree(tiny_encoder_folder, tmp_path / "copy")


@pytest.mark.usefixtures("settled")
def test_weights_are_hashed_once(folder, monkeypatch):
    first = load_query_encoder(folder).fingerprint
    monkeypatch.setattr(fingerprint_module, "fingerprint", None)  # a second one would fail
    assert load_query_encoder(folder).fingerprint == first
    assert load_encoder(folder).fingerprint == first
    assert load_encoder(folder, dtype=torch.bfloat16).fingerprint == first


@pytest.mark.usefixtures("settled")
def test_changed_weights_are_hashed_again(folder):
    path = folder / "1_Dense" / "model.safetensors"
    first, before = load_query_encoder(folder).fingerprint, path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # size and time as they were
    second = load_query_encoder(folder).fingerprint
    assert second != first
    assert load_encoder(folder).fingerprint == second
    assert load_query_encoder(folder, query_length=9).fingerprint not in (first, second)


def test_fresh_files_are_not_trusted_yet(folder, own_cache):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes())
    assert load_query_encoder(folder).fingerprint
    assert not [p for p in own_cache.rglob("*") if p.is_file()]


@pytest.mark.usefixtures("settled")
def test_a_cache_that_is_broken_or_not_writable_is_no_error(folder, own_cache, monkeypatch):
    first = load_query_encoder(folder).fingerprint
    (entry,) = (p for p in own_cache.rglob("*") if p.is_file())
    entry.write_text("no digest")
    assert load_query_encoder(folder).fingerprint == first
    assert entry.read_text() == first
    blocked = own_cache / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert load_query_encoder(folder).fingerprint == first


def test_training_changes_the_fingerprint(folder):
    encoder = load_encoder(folder)
    with torch.no_grad():
        encoder.backbone.final_norm.weight += 1
    changed = encoder.fingerprint
    assert changed != load_encoder(folder).fingerprint
    encoder.save(folder.parent / "trained")
    assert load_query_encoder(folder.parent / "trained").fingerprint == changed


def test_encoder_loaded_in_inference_mode(folder):
    """Its tensors keep no count of changes, so they are hashed as they are."""
    with torch.inference_mode():
        encoder = load_encoder(folder)
        assert encoder.fingerprint == load_encoder(folder).fingerprint
        changed = load_encoder(folder)
        changed.backbone.final_norm.weight += 1
        assert changed.fingerprint != encoder.fingerprint
    assert encoder.fingerprint == load_query_encoder(folder).fingerprint
