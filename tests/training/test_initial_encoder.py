"""The encoder that a run starts from: new heads, options, and options that do not fit."""

from __future__ import annotations

import string

import numpy as np
import pytest
import torch

from mbert_retrieval import InputError, load_encoder
from mbert_retrieval.backbone.checkpoint import read_tensors
from mbert_retrieval.training.initial_encoder import initial_encoder
from mbert_retrieval.training.recipe import ModelOptions
from support.training_data import write_bare


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    return write_bare(tmp_path_factory.mktemp("bare"))


@pytest.fixture(scope="module")
def tokens(bare):
    """Number of tokens before a run adds its own."""
    return load_encoder(bare).tokenizer.backend.get_vocab_size()


@pytest.fixture
def new_late(tmp_path):
    """A late-interaction encoder on a network with a prompt that is not yet a token, and that
    network's embedding."""
    bare = write_bare(tmp_path, vocab_size=150)
    encoder = initial_encoder("colbert", ModelOptions(str(bare), query_prompt="[query] "))
    return encoder, read_tensors(bare)["embeddings.tok_embeddings.weight"]


def test_the_prompt_of_a_new_late_encoder_is_a_token(new_late, tokens):
    encoder, _ = new_late
    assert encoder.tokenizer.id_of("[query] ") == tokens
    assert encoder.query.prompt == "[query] "
    assert encoder.token_ids(["x"], encoder.query)[0].values[1] == tokens


def test_the_embedding_has_a_row_for_every_token(new_late, tokens):
    backbone = new_late[0].backbone
    assert backbone.config.vocab_size == max(150, tokens + 1)
    assert backbone.embeddings.tok_embeddings.num_embeddings == max(150, tokens + 1)


def test_the_rows_of_other_tokens_stay(new_late):
    encoder, before = new_late
    after = encoder.backbone.embeddings.tok_embeddings.weight
    torch.testing.assert_close(after[: len(before)], before)


def test_the_row_of_a_new_token_is_near_the_mean(new_late, tokens):
    encoder, before = new_late
    row = encoder.backbone.embeddings.tok_embeddings.weight[tokens]
    noise = (row - before.mean(0)).abs()
    assert 0 < noise.max() < 6 * encoder.backbone.config.initializer_range


def test_a_new_late_encoder_has_pylates_defaults(bare):
    encoder = initial_encoder("colbert", ModelOptions(str(bare)))
    assert (encoder.query.prompt, encoder.document.prompt) == ("[Q] ", "[D] ")
    assert (encoder.query.limit, encoder.document.limit) == (32, 180)
    assert encoder.dimension == 128
    assert encoder.query.expansion.length == 32
    assert len(encoder.head.skiplist) == len(string.punctuation)


def test_expansion_and_skiplist_can_be_turned_off(bare):
    encoder = initial_encoder("colbert", ModelOptions(str(bare), expansion=False, skiplist=False))
    assert encoder.query.expansion is None
    assert encoder.head.skiplist == ()


@pytest.mark.parametrize(("pooling", "position"), [("cls", 0), ("mean", None)])
def test_the_pooling_of_a_dense_encoder_is_the_recipes(bare, pooling, position):
    encoder = initial_encoder("dense", ModelOptions(str(bare), pooling=pooling, normalize=False))
    ids = encoder.token_ids(["read the file"], encoder.document)[0]
    hidden = encoder.backbone(torch.from_numpy(ids.values), torch.from_numpy(ids.offsets))
    expected = hidden.mean(0) if position is None else hidden[position]
    vector = encoder.encode_documents(["read the file"]).values[0]
    np.testing.assert_allclose(vector, expected.detach().numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("objective", "options", "message"),
    [
        ("dense", {"dimension": 8}, "model.dimension has no meaning for dense"),
        ("colbert", {"pooling": "cls"}, "model.pooling has no meaning for colbert"),
        ("dense", {"pooling": "middle"}, "model.pooling must be one of"),
        ("dense", {"query_length": 2}, "lengths go from 4"),
    ],
)
def test_options_that_do_not_fit_are_refused(bare, objective, options, message):
    with pytest.raises(InputError, match=message):
        initial_encoder(objective, ModelOptions(str(bare), **options))


def test_a_checkpoint_with_a_head_gets_no_new_one(bare, tmp_path):
    initial_encoder("colbert", ModelOptions(str(bare), dimension=16)).save(tmp_path)
    with pytest.raises(InputError, match="has its own head"):
        initial_encoder("colbert", ModelOptions(str(tmp_path), dimension=8))
