"""bfloat16, batches in threads, and how they are chosen."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mbert_retrieval import InputError, load_encoder
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


@pytest.mark.parametrize("head", ["dense", "late"])
def test_bfloat16_vectors_are_nearly_those_of_float32(texts, head):
    exact = load_encoder("nano", head, dtype=torch.float32).encode_documents(texts)
    ours = load_encoder("nano", head, dtype=torch.bfloat16).encode_documents(texts)
    assert np.array_equal(ours.offsets, exact.offsets)
    cosines = (ours.values * exact.values).sum(1)
    assert cosines.mean() > 0.999


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


@pytest.mark.parametrize(("gain", "expected"), [(2.5, torch.bfloat16), (1.1, torch.float32)])
def test_the_faster_one_is_taken(monkeypatch, gain, expected):
    monkeypatch.delenv("MBERT_DTYPE")
    monkeypatch.setattr(precision, "_gain_of_bfloat16", lambda: gain)
    assert precision.chosen_dtype("cpu") == expected
    assert precision.chosen_dtype("cuda:0") == torch.bfloat16
