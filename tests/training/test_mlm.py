"""Masked language modelling: transformers' loss, new networks, resumed runs, longer context."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from mbert_retrieval import InputError
from mbert_retrieval.backbone import MaskedLM, load_network
from mbert_retrieval.backbone.checkpoint import read_tensors
from mbert_retrieval.training.mlm import MaskedLMWithLoss, MlmRecipe, pretrain
from support.tiny_models import tiny_config, tiny_tokenizer
from support.training_data import NOUNS, write_jsonl

pytestmark = pytest.mark.filterwarnings("ignore")

SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
}


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    rows = [{"text": f"to {NOUNS[i % 7]} the {NOUNS[i % 5]} " * (1 + i % 6)} for i in range(60)]
    return write_jsonl(tmp_path_factory.mktemp("texts") / "texts.jsonl", rows)


def recipe(texts, output, model, **sections):
    raw = {
        "model": model,
        "data": {"train": str(texts), "length": 48},
        "training": {
            "output": str(output),
            "batch": 2,
            "steps": 6,
            "learning_rate": 3e-3,
            "optimizer": "adamw",
            "save_every": 2,
            "log_every": 1,
        },
    }
    for name, section in sections.items():
        raw[name] |= section
    return MlmRecipe.parse(raw)


def test_the_loss_is_that_of_transformers_on_a_padded_batch(tmp_path):
    from transformers import ModernBertForMaskedLM

    torch.manual_seed(0)
    reference = ModernBertForMaskedLM(tiny_config(num_hidden_layers=3))
    reference.save_pretrained(tmp_path)
    ours = MaskedLMWithLoss(load_network(MaskedLM, tmp_path).train())
    reference.train()
    lengths = [9, 30, 4]
    random = np.random.default_rng(0)
    rows = [random.integers(5, 200, length) for length in lengths]
    padded = torch.zeros(3, 30, dtype=torch.int64)
    labels = torch.full((3, 30), -100)
    attention = torch.zeros(3, 30, dtype=torch.int64)
    predicted, filled = [], 0
    for i, row in enumerate(rows):
        padded[i, : len(row)] = torch.from_numpy(row)
        attention[i, : len(row)] = 1
        chosen = np.arange(1, len(row), 3)
        labels[i, chosen] = torch.from_numpy(row[chosen] + 7)
        predicted.append(chosen + filled)
        filled += len(row)
    expected = reference(input_ids=padded, attention_mask=attention, labels=labels).loss
    loss = ours(
        torch.from_numpy(np.concatenate(rows)),
        torch.tensor([0, 9, 39, 43]),
        torch.from_numpy(np.concatenate(predicted)),
        labels[labels != -100],
    )["loss"]
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    loss.backward()
    expected.backward()
    for name, parameter in reference.named_parameters():
        gradient = ours.network.get_parameter(name).grad
        scale = parameter.grad.abs().max().clamp(min=1e-6)
        assert ((gradient - parameter.grad).abs().max() / scale).item() < 1e-3, name


def test_a_new_network_learns_and_loads_in_transformers(tokenizer_folder, texts, tmp_path):
    from transformers import ModernBertForMaskedLM, PreTrainedTokenizerFast

    losses = []
    model = {"tokenizer": str(tokenizer_folder), "shape": SHAPE}
    training = {"steps": 40, "learning_rate": 1e-2, "save_every": 40}
    folder = pretrain(
        recipe(texts, tmp_path / "run", model, training=training),
        lambda step, steps, logs: losses.append(logs.get("loss")),
    )
    losses = [loss for loss in losses if loss is not None]
    assert losses[0] > 4
    assert np.mean(losses[-5:]) < 0.7 * losses[0]
    theirs = ModernBertForMaskedLM.from_pretrained(folder)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    assert tokenizer.model_max_length == 64
    ids = tokenizer("to read the [MASK]", return_tensors="pt")["input_ids"]
    ours = load_network(MaskedLM, folder)
    offsets = torch.tensor([0, ids.shape[1]])
    torch.testing.assert_close(theirs(ids).logits[0], ours(ids[0], offsets), atol=1e-4, rtol=1e-4)


def test_interrupted_and_resumed_ends_with_the_same_weights(tokenizer_folder, texts, tmp_path):
    model = {"tokenizer": str(tokenizer_folder), "shape": SHAPE}
    whole = pretrain(recipe(texts, tmp_path / "whole", model))
    cut = recipe(texts, tmp_path / "cut", model)

    def interrupt(step, steps, logs):
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(cut, interrupt)
    seen = []
    resumed = pretrain(cut, lambda step, steps, logs: seen.append(step))
    assert seen[0] == 5
    left, right = read_tensors(whole), read_tensors(resumed)
    for name, tensor in left.items():
        torch.testing.assert_close(right[name], tensor, atol=1e-7, rtol=0)


def test_more_context_with_another_rope_theta(tokenizer_folder, texts, tmp_path):
    model = {"tokenizer": str(tokenizer_folder), "shape": SHAPE}
    short = recipe(texts, tmp_path / "short", model | {"rope_theta": 10_000.0})
    first = pretrain(short)
    assert json.loads((first / "config.json").read_text())["global_rope_theta"] == 10_000
    longer = {"base": str(first), "rope_theta": 160_000.0, "max_positions": 256}
    with pytest.raises(InputError, match=r"data.length 200 is above the network's 64 positions"):
        pretrain(recipe(texts, tmp_path / "no", {"base": str(first)}, data={"length": 200}))
    second = pretrain(recipe(texts, tmp_path / "long", longer, data={"length": 200}))
    config = json.loads((second / "config.json").read_text())
    assert (config["global_rope_theta"], config["max_position_embeddings"]) == (160_000, 256)
    moved = read_tensors(second)["model.layers.0.mlp.Wi.weight"]
    start = read_tensors(first)["model.layers.0.mlp.Wi.weight"]
    assert 0 < (moved - start).abs().max() < 0.2


@pytest.mark.parametrize(
    ("model", "sections", "message"),
    [
        ({}, {}, "set either model.base, or model.tokenizer"),
        ({"base": "a", "shape": {"hidden_size": 8}}, {}, "model.shape is for a new network"),
        ({"base": "a"}, {"data": {"masked": 1.0}}, "data.masked must be a fraction"),
        ({"base": "a"}, {"data": {"length": 2}}, "data.length must be at least 8"),
        ({"base": "a"}, {"data": {"train": ""}}, "data.train is missing"),
        ({"base": "a"}, {"training": {"warmup": 0.6, "decay": 0.6}}, "more than 1"),
    ],
)
def test_mistakes_are_named(tmp_path, model, sections, message):
    with pytest.raises(InputError, match=message):
        recipe(tmp_path / "x.jsonl", tmp_path, model, **sections)


def test_a_row_without_text_names_its_line(tokenizer_folder, tmp_path):
    path = write_jsonl(tmp_path / "texts.jsonl", [{"text": "x"}, {"body": "y"}])
    model = {"tokenizer": str(tokenizer_folder), "shape": SHAPE}
    with pytest.raises(InputError, match=r"texts.jsonl:2: no text under 'text'"):
        pretrain(recipe(path, tmp_path / "run", model))
    with pytest.raises(InputError, match="'hiden_size' is not a field"):
        pretrain(recipe(path, tmp_path / "run2", model | {"shape": {"hiden_size": 8}}))
