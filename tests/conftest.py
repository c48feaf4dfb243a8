"""Fixtures that many tests share: small models, and a small tree of sources."""

from __future__ import annotations

import os
import shutil
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["MBERT_DTYPE"] = "float32"  # what is compared with references
# the tests' indexes are recorded as trusted here, not in the home folder
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="mbert-state-")

import hypothesis
import pytest

from support.cli import write_tree
from support.tiny_models import tiny_config, tiny_tokenizer

# how long an example takes says more of what else the machine does
hypothesis.settings.register_profile("tests", deadline=None)
hypothesis.settings.load_profile("tests")


def pytest_sessionfinish():
    shutil.rmtree(os.environ["XDG_STATE_HOME"], ignore_errors=True)


@pytest.fixture(scope="session")
def bare_folder(tmp_path_factory):
    """A bare ModernBERT with its tokenizer, saved by transformers."""
    import torch
    from transformers import ModernBertModel

    folder = tmp_path_factory.mktemp("bare")
    torch.manual_seed(0)
    ModernBertModel(tiny_config()).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_encoder_folder(bare_folder, tmp_path_factory):
    """A portable late-interaction folder with random weights: enough to index and search."""
    import torch

    from mbert_retrieval.backbone import ModernBert, load_network
    from mbert_retrieval.encoders.dense_layer import Dense
    from mbert_retrieval.encoders.encoder import Encoder, InputSpec
    from mbert_retrieval.encoders.heads import LateHead
    from mbert_retrieval.encoders.tokens import TextTokenizer

    torch.manual_seed(1)
    encoder = Encoder(
        load_network(ModernBert, bare_folder),
        TextTokenizer.load(bare_folder),
        LateHead((Dense(64, 32, bias=False),)),
        InputSpec("[Q] ", 32),
        InputSpec("[D] ", 256),
    )
    folder = tmp_path_factory.mktemp("tiny-encoder")
    encoder.save(folder)
    return folder


@pytest.fixture
def tree(tmp_path):
    return write_tree(tmp_path / "tree")
