"""The backbone against transformers, with the same random weights."""

from __future__ import annotations

import json

import pytest
import torch

from mbert_retrieval.backbone import (
    Classifier,
    MaskedLM,
    ModernBert,
    load_network,
    model,
    save_network,
)
from support.tiny_models import tiny_config

LENGTHS = [1, 2, 8, 9, 10, 17, 64, 65, 130, 300]


def packed(lengths, vocab, seed=0):
    generator = torch.Generator().manual_seed(seed)
    texts = [torch.randint(5, vocab, (n,), generator=generator) for n in lengths]
    return texts, torch.cat(texts), torch.tensor([0, *lengths]).cumsum(0)


def scaled_difference(ours, theirs):
    """Largest difference as a share of the reference's largest value."""
    return float(((ours - theirs).abs().max() / theirs.abs().max()).detach())


@pytest.fixture(scope="module")
def masked_lm(tmp_path_factory):
    from transformers import ModernBertForMaskedLM

    torch.manual_seed(0)
    reference = ModernBertForMaskedLM(tiny_config()).eval()
    folder = tmp_path_factory.mktemp("mlm")
    reference.save_pretrained(folder)
    return reference, folder


@pytest.fixture(params=["fastest", "plan"])
def attention_path(request, monkeypatch):
    """With the packed loop where the processor has it, and with SDPA, as on all other machines."""
    if request.param == "plan":
        monkeypatch.setattr(model, "has_cpu_kernel", lambda *_: False)


@pytest.mark.usefixtures("attention_path")
def test_hidden_states_and_gradients(masked_lm):
    reference, folder = masked_lm
    ours = load_network(ModernBert, folder)
    texts, ids, offsets = packed(LENGTHS, 256)
    out = ours(ids, offsets)
    expected = torch.cat([reference.model(t[None]).last_hidden_state[0] for t in texts])
    assert scaled_difference(out, expected) < 1e-5
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
    (out * weights).sum().backward()
    reference.zero_grad()
    (expected * weights).sum().backward()
    theirs = dict(reference.model.named_parameters())
    for name, parameter in ours.named_parameters():
        assert scaled_difference(parameter.grad, theirs[name].grad) < 1e-4, name


def test_reference_padded_batch_agrees_too(masked_lm):
    """The reference's own padded batch, whose local masks are N x N."""
    reference, folder = masked_lm
    ours = load_network(ModernBert, folder)
    texts, ids, offsets = packed([3, 40, 7], 256, seed=2)
    padded = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(t) for t in texts], batch_first=True)
    with torch.no_grad():
        expected = reference.model(padded, attention_mask=mask).last_hidden_state[mask.bool()]
        assert scaled_difference(ours(ids, offsets), expected) < 1e-5


def test_masked_lm_logits_and_fill_mask(masked_lm):
    reference, folder = masked_lm
    ours = load_network(MaskedLM, folder)
    _, ids, offsets = packed([30, 90], 256, seed=3)
    ids[[4, 50, 77]] = 4  # [MASK]
    with torch.no_grad():
        expected = torch.cat([reference(t[None]).logits[0] for t in ids.split([30, 90])])
        logits = ours(ids, offsets)
        chosen = ours(ids, offsets, predicted=torch.tensor([4, 50, 77]))
    assert scaled_difference(logits, expected) < 1e-5
    torch.testing.assert_close(chosen, logits[[4, 50, 77]])
    assert torch.equal(chosen.topk(5).indices, expected[[4, 50, 77]].topk(5).indices)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_classifier(tmp_path, pooling):
    from transformers import ModernBertForSequenceClassification

    torch.manual_seed(1)
    config = tiny_config(classifier_pooling=pooling, num_labels=3)
    reference = ModernBertForSequenceClassification(config).eval()
    reference.save_pretrained(tmp_path)
    ours = load_network(Classifier, tmp_path)
    texts, ids, offsets = packed([5, 33, 80], 256)
    with torch.no_grad():
        expected = torch.cat([reference(t[None]).logits for t in texts])
        assert scaled_difference(ours(ids, offsets), expected) < 1e-5


def test_biases_and_other_layer_patterns(tmp_path):
    from transformers import ModernBertModel

    kinds = ["sliding_attention", "full_attention", "full_attention", "sliding_attention"]
    rope = {
        "full_attention": {"rope_type": "default", "rope_theta": 12_345.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 777.0},
    }
    config = tiny_config(
        attention_bias=True, mlp_bias=True, norm_bias=True, layer_types=kinds, rope_parameters=rope
    )
    torch.manual_seed(2)
    reference = ModernBertModel(config).eval()
    for parameter in reference.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    reference.save_pretrained(tmp_path)
    ours = load_network(ModernBert, tmp_path)
    texts, ids, offsets = packed([12, 70], 256)
    with torch.no_grad():
        expected = torch.cat([reference(t[None]).last_hidden_state[0] for t in texts])
        assert scaled_difference(ours(ids, offsets), expected) < 1e-5


def test_gradient_checkpointing_changes_nothing(masked_lm):
    _, folder = masked_lm
    _, ids, offsets = packed([20, 70], 256)
    gradients = []
    for checkpointing in (False, True):
        network = load_network(ModernBert, folder).train()
        network.gradient_checkpointing = checkpointing
        network(ids, offsets).square().sum().backward()
        gradients.append([p.grad for p in network.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_bfloat16_stays_near_the_reference(masked_lm):
    reference, folder = masked_lm
    from transformers import ModernBertModel

    theirs = ModernBertModel.from_pretrained(folder, dtype=torch.bfloat16).eval()
    ours = load_network(ModernBert, folder, torch.bfloat16)
    texts, ids, offsets = packed([9, 80, 200], 256)
    with torch.no_grad():
        exact = torch.cat([reference.model(t[None]).last_hidden_state[0] for t in texts])
        their_error = torch.cat([theirs(t[None]).last_hidden_state[0] for t in texts]) - exact
        our_error = ours(ids, offsets) - exact
    # as good as the reference's own bfloat16 run, which rounds elsewhere
    assert our_error.abs().mean() < 1.5 * their_error.abs().mean()


def test_saved_checkpoints_load_in_transformers(masked_lm, tmp_path):
    from transformers import AutoModelForMaskedLM

    reference, folder = masked_lm
    save_network(load_network(MaskedLM, folder), tmp_path)
    again = AutoModelForMaskedLM.from_pretrained(tmp_path).eval()
    _, ids, _ = packed([50], 256)
    with torch.no_grad():
        assert torch.equal(again(ids[None]).logits, reference(ids[None]).logits)
    raw = json.loads((tmp_path / "config.json").read_text())
    assert raw["global_attn_every_n_layers"] == 3
    assert raw["global_rope_theta"] == 160_000.0
    assert raw["layer_types"][0] == "full_attention"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_base_size_to_8192_tokens(tmp_path):
    """The published base size (22 layers, 768), lengths from 1 to 8192 in one batch."""
    from transformers import ModernBertConfig, ModernBertForMaskedLM

    torch.manual_seed(0)
    reference = ModernBertForMaskedLM(ModernBertConfig()).eval()
    reference.save_pretrained(tmp_path)
    ours = load_network(MaskedLM, tmp_path)
    texts, ids, offsets = packed([1, 7, 64, 65, 129, 511, 1030, 8192], 50_000)
    with torch.no_grad():
        out = ours.model(ids, offsets)
        expected = torch.cat([reference.model(t[None]).last_hidden_state[0] for t in texts])
    assert scaled_difference(out, expected) < 1e-5
    texts, ids, offsets = packed([1, 30, 200, 400], 50_000, seed=1)
    logits = ours(ids, offsets)
    expected = torch.cat([reference(t[None]).logits[0] for t in texts])
    assert scaled_difference(logits, expected) < 1e-5
    assert torch.equal(logits[::37].topk(5).indices, expected[::37].topk(5).indices)
    labels = ids.roll(1)
    torch.nn.functional.cross_entropy(logits, labels).backward()
    torch.nn.functional.cross_entropy(expected, labels).backward()
    theirs = dict(reference.named_parameters())
    for name, parameter in ours.named_parameters():
        assert scaled_difference(parameter.grad, theirs[name].grad) < 1e-4, name
