"""bfloat16 and int8, batches in threads, and how they are chosen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mbert_retrieval import InputError, load_encoder
from mbert_retrieval.backbone.int8 import Int8Linear
from mbert_retrieval.encoders import precision

WORDS = [
    "read",
    "the",
    "file",
    "and",
    "write",
    "a",
    "log",
    "when",
    "parsing",
    "headers",
    "fails",
    "for",
    "some",
    "reason",
]


@pytest.fixture(scope="module")
def texts():
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, rng.integers(1, 400))) for _ in range(60)]


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
@pytest.mark.parametrize("head", ["dense", "late"])
def test_vectors_are_nearly_those_of_float32(texts, head, dtype):
    exact = load_encoder("nano", head, dtype="float32").encode_documents(texts)
    ours = load_encoder("nano", head, dtype=dtype).encode_documents(texts)
    assert np.array_equal(ours.offsets, exact.offsets)
    cosines = (ours.values * exact.values).sum(1)
    assert cosines.mean() > 0.999


def test_int8_is_chosen_for_nano_and_changes_with_its_weights(texts, monkeypatch):
    monkeypatch.delenv("MBERT_DTYPE")
    monkeypatch.setattr(precision, "int8_is_fast", lambda: True)
    ours = load_encoder("nano", "dense")
    linears = [m for m in ours.backbone.modules() if isinstance(m, torch.nn.Linear)]
    assert len(linears) == 24
    assert all(isinstance(m, Int8Linear) for m in linears)
    ours.encode_documents(texts[:5])
    with torch.no_grad():
        for linear in linears:
            linear.weight.mul_(1.5)
    exact = load_encoder("nano", "dense", dtype=torch.float32)
    with torch.no_grad():
        for linear in exact.backbone.modules():
            if isinstance(linear, torch.nn.Linear):
                linear.weight.mul_(1.5)
    actual, expected = (e.encode_documents(texts[:5]).values for e in (ours, exact))
    assert (actual * expected).sum(1).min() > 0.999


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
@pytest.mark.parametrize("head", ["dense", "late"])
def test_what_is_saved_is_what_was_loaded_whatever_it_computes_in(tmp_path, head, dtype):
    half = load_encoder("nano", head, dtype=dtype, document_length=300)
    half.save(tmp_path / "saved")
    exact = load_encoder("nano", head, dtype=torch.float32, document_length=300)
    exact.save(tmp_path / "expected")
    saved, expected = (load_file(tmp_path / n / "model.safetensors") for n in ("saved", "expected"))
    assert saved.keys() == expected.keys()
    assert all(torch.equal(saved[name], expected[name]) for name in expected)
    sides = [load_encoder(tmp_path / name).document for name in ("saved", "expected")]
    assert sides[0] == sides[1]


def test_what_was_changed_is_saved_as_it_is_now(tmp_path):
    half = load_encoder("nano", "dense", dtype=torch.bfloat16)
    with torch.no_grad():
        half.backbone.final_norm.weight.mul_(2)
    half.save(tmp_path / "saved")
    saved = load_file(tmp_path / "saved" / "model.safetensors")["final_norm.weight"]
    assert torch.equal(saved, half.backbone.final_norm.weight.float())


def test_threads_share_batches_and_change_nothing(texts):
    encoder = load_encoder("nano", "dense", dtype=torch.float32)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = encoder.encode_documents(texts).values
        torch.set_num_threads(3)
        together = encoder.encode_documents(texts).values
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert np.abs(alone - together).max() < 1e-5


def test_an_error_in_a_thread_arrives(texts, monkeypatch):
    encoder = load_encoder("nano", "dense", dtype=torch.float32)

    def broken(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(encoder, "_forward", broken)
    with pytest.raises(KeyboardInterrupt):
        encoder.encode_documents(texts)


def test_the_environment_names_the_precision(monkeypatch):
    monkeypatch.setenv("MBERT_DTYPE", "bfloat16")
    assert load_encoder("nano").backbone.final_norm.weight.dtype == torch.bfloat16
    monkeypatch.setenv("MBERT_DTYPE", "float8")
    with pytest.raises(InputError, match="MBERT_DTYPE is 'float8'"):
        load_encoder("nano")


def test_int8_is_for_the_processor_and_chosen_where_it_is_fast(monkeypatch):
    with pytest.raises(InputError, match="dtype is int8, which needs the device cpu"):
        precision.precision_of("int8", "cuda")
    monkeypatch.setattr(precision, "int8_is_fast", lambda: False)
    monkeypatch.delenv("MBERT_DTYPE")
    assert precision.chosen_precision("cpu", True) in ("float32", "bfloat16")


@pytest.mark.parametrize(("gain", "expected"), [(2.5, "bfloat16"), (1.1, "float32")])
def test_the_faster_one_is_taken(monkeypatch, gain, expected):
    monkeypatch.delenv("MBERT_DTYPE")
    monkeypatch.setattr(precision, "gain_of_bfloat16", lambda: gain)
    assert precision.chosen_precision("cpu", False) == expected
    assert precision.chosen_precision("cuda:0", True) == "bfloat16"


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("head", ["dense", "late"])
def test_on_cuda_vectors_are_those_of_the_processor(texts, head, dtype):
    exact = load_encoder("nano", head, device="cpu", dtype="float32")
    ours = load_encoder("nano", head, device="cuda", dtype=dtype)
    assert ours.device.type == "cuda"
    for side in ("documents", "queries"):
        found, expected = (getattr(e, f"encode_{side}")(texts) for e in (ours, exact))
        assert np.array_equal(found.offsets, expected.offsets)
        assert (found.values * expected.values).sum(1).min() > 0.999
