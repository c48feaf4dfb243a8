"""LoRA: low-rank updates, trained separately and merged at the end."""

from __future__ import annotations

import pytest
import torch

from mbert_retrieval.backbone.checkpoint import read_tensors
from mbert_retrieval.training import Recipe, train
from mbert_retrieval.training.lora import Lora
from mbert_retrieval.training.recipe import ModelOptions
from support.training_data import raw_recipe, triplets, write_bare, write_jsonl

pytestmark = pytest.mark.filterwarnings("ignore")

MATRICES = ("Wqkv", "Wo", "Wi")
RANK, ALPHA = 3, 12.0


@pytest.fixture(scope="module", params=["dense", "colbert"])
def weights(request, tmp_path_factory):
    """What a run adds to each of the network's weights, and the updates of its last checkpoint."""
    folder = tmp_path_factory.mktemp("lora")
    bare = write_bare(folder / "bare")
    rows = write_jsonl(folder / "rows.jsonl", triplets(64))
    changes = {
        "model": {"lora_rank": RANK, "lora_alpha": ALPHA},
        "training": {"steps": 6, "save_every": 2},
    }
    recipe = Recipe.parse(request.param, raw_recipe(bare, rows, folder / "run", **changes))
    before, after = read_tensors(bare), read_tensors(train(recipe))
    vocabulary = len(before["embeddings.tok_embeddings.weight"])
    added = {name: after[name][:vocabulary] - weight for name, weight in before.items()}
    return added, read_tensors(folder / "run" / "checkpoint-6")


def test_the_matrices_change_by_the_rank(weights):
    for name, added in weights[0].items():
        if name.removesuffix(".weight").endswith(MATRICES):
            assert torch.linalg.matrix_rank(added, rtol=1e-3) == RANK, name


def test_nothing_but_the_matrices_changes(weights):
    for name, added in weights[0].items():
        if not name.removesuffix(".weight").endswith(MATRICES):
            assert not added.any(), name


def test_the_merged_matrices_are_the_sum(weights):
    added, updates = weights
    for name, change in added.items():
        matrix = name.removesuffix(".weight")
        if matrix.endswith(MATRICES):
            low, high = (updates[f"{matrix}.lora_{side}.default.weight"] for side in "AB")
            expected = ALPHA / RANK * high @ low
            torch.testing.assert_close(change, expected, atol=1e-6, rtol=1e-5)


def test_the_scale_is_two_by_default():
    lora = Lora.from_options(ModelOptions(lora_rank=8))
    assert lora is not None
    assert lora.alpha / lora.rank == 2


def test_without_a_rank_there_is_no_lora():
    assert Lora.from_options(ModelOptions()) is None
