"""The losses of recipes against their formulas, worked out from the model's vectors by numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, softmax

from mbert_retrieval import InputError
from mbert_retrieval.training.initial_encoder import initial_encoder
from mbert_retrieval.training.losses import MinMaxScores, build_loss
from mbert_retrieval.training.packed_module import to_sentence_transformers
from mbert_retrieval.training.recipe import LossOptions, ModelOptions
from support.training_data import COLUMNS, QUERIES, SCORES, features_of, write_bare

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    torch.manual_seed(5)
    bare = str(write_bare(tmp_path_factory.mktemp("bare")))
    options = {
        "dense": ModelOptions(bare, 24, 64, normalize=True),
        "colbert": ModelOptions(bare, 24, 64, dimension=16),
    }
    return {
        objective: to_sentence_transformers(initial_encoder(objective, option)).eval()
        for objective, option in options.items()
    }


def loss_of(models, objective, options):
    model = models[objective]
    with torch.no_grad():
        return build_loss(objective, model, options)(features_of(model), SCORES).item()


def scores_of(models, objective):
    """(columns, queries, documents of a column) scores, each query with every document."""
    model = models[objective]
    queries = [np.atleast_2d(np.asarray(q)) for q in model.encode_query(QUERIES)]
    columns = [
        [np.atleast_2d(np.asarray(d)) for d in model.encode_document(column)] for column in COLUMNS
    ]
    return np.array(
        [[[(q @ d.T).max(1).sum() for d in column] for q in queries] for column in columns]
    )


def contrastive(scores, temperature):
    """Cross-entropy of each query's own positive among all documents of the batch."""
    logits = np.concatenate(scores, axis=1) / temperature
    return -np.diag(log_softmax(logits, axis=1)).mean()


def own(scores):
    """(queries, columns) scores of each query's own documents."""
    return np.array([np.diag(column) for column in scores]).T


def divergence(student, temperature):
    """Kullback-Leibler divergence of the teacher's distribution from the student's."""
    teacher = softmax(SCORES.numpy() / temperature, axis=1)
    terms = teacher * (np.log(teacher) - log_softmax(student / temperature, axis=1))
    return terms.sum(1).mean() * temperature**2


@pytest.mark.parametrize("name", ["contrastive", "cached"])
@pytest.mark.parametrize(
    ("objective", "temperature", "expected"),
    [("dense", None, 0.05), ("dense", 0.2, 0.2), ("colbert", None, 1.0), ("colbert", 0.5, 0.5)],
)
def test_contrastive_losses_divide_by_the_temperature(
    models, name, objective, temperature, expected
):
    loss = loss_of(models, objective, LossOptions(name, temperature, mini_batch=3))
    reference = contrastive(scores_of(models, objective), expected)
    assert loss == pytest.approx(reference, rel=1e-3)


@pytest.mark.parametrize("objective", ["dense", "colbert"])
@pytest.mark.parametrize(("temperature", "expected"), [(None, 1.0), (2.0, 2.0)])
def test_kl_divides_student_and_teacher_by_the_temperature(
    models, objective, temperature, expected
):
    loss = loss_of(models, objective, LossOptions("kl", temperature))
    reference = divergence(own(scores_of(models, objective)), expected)
    assert loss == pytest.approx(reference, rel=1e-3)


def test_normalized_scores_are_rescaled_before_kl(models):
    loss = loss_of(models, "colbert", LossOptions("kl", normalize_scores=True))
    scores = own(scores_of(models, "colbert"))
    low, high = scores.min(1, keepdims=True), scores.max(1, keepdims=True)
    reference = divergence((scores - low) / (high - low), 1.0)
    assert loss == pytest.approx(reference, rel=1e-3)


@pytest.mark.parametrize("objective", ["dense", "colbert"])
def test_margin_mse_compares_margins(models, objective):
    scores, teacher = own(scores_of(models, objective)), SCORES.numpy()
    margins = scores[:, :1] - scores[:, 1:] - (teacher[:, :1] - teacher[:, 1:])
    loss = loss_of(models, objective, LossOptions("margin-mse"))
    assert loss == pytest.approx((margins**2).mean(), rel=1e-3)


def test_matryoshka_adds_the_loss_of_the_leading_dimensions(models):
    model, sizes = models["dense"], (32, 8)
    expected = 0.0
    for size in sizes:
        vectors = [np.asarray(model.encode_query(QUERIES))[:, :size]]
        vectors += [np.asarray(model.encode_document(column))[:, :size] for column in COLUMNS]
        queries, *columns = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in vectors)
        expected += contrastive([queries @ column.T for column in columns], 0.05)
    loss = loss_of(models, "dense", LossOptions(matryoshka=sizes))
    assert loss == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("sizes", [(33,), (0, 8)])
def test_matryoshka_dimensions_are_those_of_the_model(models, sizes):
    with pytest.raises(InputError, match="dimensions must be from 1 to 32"):
        build_loss("dense", models["dense"], LossOptions(matryoshka=sizes))


def test_equal_scores_of_a_row_are_rescaled_to_zero():
    scores = MinMaxScores(lambda: torch.tensor([[2.0, 2.0], [1.0, 3.0]]))()
    assert scores.tolist() == [[0.0, 0.0], [0.0, 1.0]]
