"""The packed network inside sentence-transformers: the same gradients as the padded reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mbert_retrieval import InputError, load_encoder
from mbert_retrieval.training.initial_encoder import initial_encoder
from mbert_retrieval.training.losses import build_loss
from mbert_retrieval.training.packed_module import to_sentence_transformers
from mbert_retrieval.training.recipe import LossOptions, ModelOptions
from support.tiny_models import TEXTS
from support.training_data import SCORES, features_of, write_bare

pytestmark = pytest.mark.filterwarnings("ignore")

PROMPTS = {"query_prompt": "how: ", "document_prompt": "the "}


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    return write_bare(tmp_path_factory.mktemp("bare"))


@pytest.fixture(scope="module")
def folders(bare, tmp_path_factory):
    """Portable folders of a new dense and a new late-interaction encoder."""
    torch.manual_seed(5)
    made = {}
    for kind, options in (
        ("dense", ModelOptions(str(bare), 24, 64, **PROMPTS)),
        ("colbert", ModelOptions(str(bare), 24, 64, dimension=16)),
    ):
        made[kind] = tmp_path_factory.mktemp(kind)
        initial_encoder(kind, options).save(made[kind])
    return made


def ours_and_plain(folder, kind):
    """Our packed model, and the one that sentence-transformers loads on transformers' network."""
    from sentence_transformers import MultiVectorEncoder, SentenceTransformer

    ours = to_sentence_transformers(load_encoder(folder, device="cpu"))
    plain = SentenceTransformer if kind == "dense" else MultiVectorEncoder
    return ours.train(), plain(str(folder), device="cpu").train()


def step(model, kind, options):
    """Loss and gradients of one batch, by the parameters' bare names."""
    loss = build_loss(kind, model, options)(features_of(model), SCORES)
    loss.backward()
    names = ("embeddings.", "layers.", "final_norm.", "linear.")
    grads = {}
    for name, parameter in model.named_parameters():
        start = min(name.find(part) for part in names if part in name)
        grads[name[start:]] = parameter.grad
    return loss.item(), grads


def assert_same_gradients(first, second, tolerance):
    assert first.keys() == second.keys()
    for name, gradient in first.items():
        scale = max(gradient.abs().max().item(), 1e-3)
        assert (gradient - second[name]).abs().max().item() <= tolerance * scale, name


LOSSES = [
    ("dense", LossOptions("contrastive")),
    ("dense", LossOptions("cached", mini_batch=3)),
    ("dense", LossOptions("kl")),
    ("dense", LossOptions("margin-mse")),
    ("dense", LossOptions("contrastive", matryoshka=(32, 8))),
    ("colbert", LossOptions("contrastive")),
    ("colbert", LossOptions("cached", mini_batch=3)),
    ("colbert", LossOptions("contrastive", xtr=40)),
    ("colbert", LossOptions("kl", normalize_scores=True)),
    ("colbert", LossOptions("margin-mse")),
]


@pytest.mark.parametrize(("kind", "options"), LOSSES, ids=lambda v: getattr(v, "name", v))
def test_a_packed_step_is_the_padded_step_of_the_reference(folders, kind, options):
    ours, plain = ours_and_plain(folders[kind], kind)
    loss, gradients = step(ours, kind, options)
    reference_loss, reference = step(plain, kind, options)
    assert loss == pytest.approx(reference_loss, rel=1e-4)
    assert max(g.abs().max().item() for g in reference.values()) > 1e-3
    assert_same_gradients(reference, gradients, 2e-4)


@pytest.mark.parametrize(
    ("kind", "matryoshka"), [("dense", ()), ("dense", (32, 8)), ("colbert", ())]
)
def test_the_cached_loss_has_the_plain_losses_gradients(folders, kind, matryoshka):
    ours, _ = ours_and_plain(folders[kind], kind)
    loss, plain = step(ours, kind, LossOptions("contrastive", 0.5, matryoshka=matryoshka))
    plain = {name: gradient.clone() for name, gradient in plain.items()}
    ours.zero_grad(set_to_none=True)
    options = LossOptions("cached", 0.5, mini_batch=3, matryoshka=matryoshka)
    cached_loss, cached = step(ours, kind, options)
    assert cached_loss == pytest.approx(loss, abs=1e-5)
    assert max(g.abs().max().item() for g in plain.values()) > 1e-2
    for name, gradient in plain.items():
        torch.testing.assert_close(cached[name], gradient, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["dense", "colbert"])
def test_the_training_model_encodes_as_the_encoder_does(folders, kind):
    encoder = load_encoder(folders[kind], device="cpu")
    model = to_sentence_transformers(encoder).eval()
    for theirs, ours in (
        (model.encode_query(TEXTS), encoder.encode_queries(TEXTS)),
        (model.encode_document(TEXTS), encoder.encode_documents(TEXTS)),
    ):
        flat = theirs if kind == "dense" else np.concatenate([t.cpu().numpy() for t in theirs])
        np.testing.assert_allclose(ours.values, flat, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["dense", "colbert"])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_training_model_stays_where_the_encoder_is(folders, kind, device):
    encoder = load_encoder(folders[kind], device=device)
    model = to_sentence_transformers(encoder)
    assert {parameter.device.type for parameter in model.parameters()} == {device}
    assert encoder.device.type == device


@pytest.mark.parametrize("include_prompt", [True, False])
def test_a_prompt_left_out_of_pooling_is_left_out_in_training(bare, tmp_path, include_prompt):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    modules = [Transformer(str(bare)), Pooling(32, "mean", include_prompt=include_prompt)]
    reference = SentenceTransformer(
        modules=modules, prompts={"query": "how to ", "document": "return: "}, device="cpu"
    )
    reference.save(str(tmp_path))
    model = to_sentence_transformers(load_encoder(tmp_path, device="cpu")).eval()
    expected = reference.encode_document(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(model.encode_document(TEXTS), expected, atol=1e-5)


def test_a_checkpoint_of_the_trainer_loads_again(folders, tmp_path):
    from sentence_transformers import MultiVectorEncoder

    encoder = load_encoder(folders["colbert"], device="cpu")
    model = to_sentence_transformers(encoder).eval()
    model.save_pretrained(str(tmp_path), create_model_card=False)
    again = MultiVectorEncoder(str(tmp_path), device="cpu", trust_remote_code=True)
    for left, right in zip(model.encode_query(TEXTS), again.encode_query(TEXTS), strict=True):
        torch.testing.assert_close(left, right)


def test_training_changes_the_encoder_itself(folders):
    encoder = load_encoder(folders["dense"], device="cpu")
    model = to_sentence_transformers(encoder)
    before = encoder.encode_queries(["read"]).values
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step(model, "dense", LossOptions())
    optimizer.step()
    assert np.abs(encoder.encode_queries(["read"]).values - before).max() > 1e-4


def test_a_truncated_encoder_is_refused(folders):
    with pytest.raises(InputError, match="truncated"):
        to_sentence_transformers(load_encoder(folders["dense"], truncate=8))


def test_an_encoder_with_token_pooling_is_refused(folders):
    with pytest.raises(InputError, match="pooling"):
        to_sentence_transformers(load_encoder(folders["colbert"], pool_factor=2.0))
