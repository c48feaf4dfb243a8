"""Configuration dialects, shards, and checkpoints that must be refused with one clear line."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from mbert_retrieval import InputError
from mbert_retrieval.backbone import MaskedLM, ModernBert, ModernBertConfig, load_network
from support.tiny_models import tiny_config


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    from transformers import ModernBertForMaskedLM

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("saved")
    ModernBertForMaskedLM(tiny_config()).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def edit_config(folder, **changes):
    path = folder / "config.json"
    raw = json.loads(path.read_text())
    raw.update(changes)
    path.write_text(json.dumps({k: v for k, v in raw.items() if v is not None}))


def vectors(folder):
    with torch.no_grad():
        return load_network(ModernBert, folder)(torch.arange(5, 80), torch.tensor([0, 30, 75]))


def test_version_4_dialect_is_read(folder):
    expected = vectors(folder)
    edit_config(
        folder,
        layer_types=None,
        rope_parameters=None,
        global_rope_theta=160_000.0,
        local_rope_theta=10_000.0,
        global_attn_every_n_layers=3,
    )
    assert torch.equal(vectors(folder), expected)
    edit_config(folder, local_rope_theta=99.0)
    assert not torch.equal(vectors(folder), expected)


def test_both_dialects_round_trip():
    config = ModernBertConfig(num_hidden_layers=6, global_rope_theta=5.0, local_rope_theta=7.0)
    raw = config.to_dict()
    assert ModernBertConfig.from_dict(raw) == config
    old = {k: v for k, v in raw.items() if k not in ("rope_parameters", "layer_types")}
    new = {k: v for k, v in raw.items() if not k.startswith(("global_", "local_rope"))}
    assert ModernBertConfig.from_dict(old) == config
    assert ModernBertConfig.from_dict(new) == config


def test_shards_and_bare_names(folder, tmp_path):
    from transformers import ModernBertForMaskedLM

    expected = vectors(folder)
    model = ModernBertForMaskedLM.from_pretrained(folder)
    model.save_pretrained(tmp_path / "shards", max_shard_size="100KB")
    assert (tmp_path / "shards" / "model.safetensors.index.json").exists()
    assert torch.equal(vectors(tmp_path / "shards"), expected)
    model.model.save_pretrained(tmp_path / "bare")
    assert torch.equal(vectors(tmp_path / "bare"), expected)


def refused(folder, kind=ModernBert):
    with pytest.raises(InputError) as caught:
        load_network(kind, folder)
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


def test_truncated_weights(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    assert "truncated" in refused(folder)


def test_wrong_shape(folder):
    edit_config(folder, vocab_size=300)
    assert "shape (256, 64)" in refused(folder)


def test_missing_layer(folder):
    edit_config(folder, num_hidden_layers=5, layer_types=None)
    assert "lacks tensor" in refused(folder)


def test_surplus_layer(folder):
    edit_config(folder, num_hidden_layers=3, layer_types=None)
    assert "unknown tensor" in refused(folder)


def test_another_architecture(folder):
    edit_config(folder, model_type="bert")
    assert "'bert'" in refused(folder)


def test_broken_json(folder):
    (folder / "config.json").write_text("{")
    assert "config.json" in refused(folder)


def test_pickles_are_not_read(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "pickle" in refused(folder)


def test_shard_names_stay_in_the_folder(folder):
    (folder / "model.safetensors").rename(folder.parent / "outside.safetensors")
    index = {"weight_map": {"x": "../outside.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "plain file name" in refused(folder)


def test_head_that_is_not_there(folder, tmp_path):
    from transformers import ModernBertForMaskedLM

    ModernBertForMaskedLM.from_pretrained(folder).model.save_pretrained(tmp_path / "bare")
    assert "lacks tensor decoder.bias and 2 more" in refused(tmp_path / "bare", MaskedLM)


def test_no_such_folder(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        load_network(ModernBert, tmp_path / "nothing" / "here")


@pytest.mark.parametrize("bad", [-1, 256])
def test_token_out_of_range(saved, bad):
    network = load_network(ModernBert, saved)
    with pytest.raises(ValueError, match=f"token id {bad} is out of range"):
        network(torch.tensor([5, bad]), torch.tensor([0, 2]))
