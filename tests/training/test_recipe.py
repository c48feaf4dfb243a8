"""Recipes: which options fit together, and one clear line about a mistake."""

from __future__ import annotations

import pytest

from mbert_retrieval import InputError
from mbert_retrieval.training.recipe import DataOptions, ModelOptions, Recipe, RunOptions
from support.training_data import raw_recipe


@pytest.mark.parametrize(
    ("kind", "section", "key", "value", "message"),
    [
        ("dense", "training", "bacth", 8, "training.bacth is unknown"),
        ("dense", "training", "batch", "8", "training.batch must be int"),
        ("dense", "training", "batch", True, "training.batch must be int"),
        ("dense", "training", "batch", 0, "training.batch must be at least 1"),
        ("dense", "training", "steps", 0, "training.steps must be at least 1"),
        ("dense", "training", "learning_rate", -1, "training.learning_rate must be above 0"),
        ("dense", "training", "warmup", 1.5, "training.warmup must be a fraction"),
        ("dense", "training", "optimizer", "sgd", "training.optimizer must be one of"),
        ("dense", "training", "output", "", "training.output is missing"),
        ("dense", "loss", "name", "triplet", "loss.name must be one of"),
        ("dense", "loss", "temperature", 0, "loss.temperature must be above 0"),
        ("dense", "loss", "xtr", 8, "loss.xtr needs colbert"),
        ("colbert", "loss", "matryoshka", [8], "loss.matryoshka has no meaning"),
        ("colbert", "loss", "normalize_scores", True, "loss.normalize_scores needs"),
        ("colbert", "evaluation", "best", True, "evaluation.best needs"),
        ("colbert", "training", "evaluate_every", 5, "evaluate_every needs"),
        ("colbert", "model", "query_prompt", 3, "model.query_prompt must be str"),
        ("dense", "model", "lora_rank", 0, "model.lora_rank must be at least 1"),
        ("dense", "model", "lora_alpha", 8.0, "model.lora_alpha must be above 0, and needs"),
        ("colbert", "extra", "x", 3, "unknown section 'extra'"),
    ],
)
def test_a_mistake_is_named(kind, section, key, value, message):
    raw = raw_recipe("nano", "rows.jsonl", "out")
    raw[section] = raw.get(section, {}) | {key: value}
    with pytest.raises(InputError, match=message) as error:
        Recipe.parse(kind, raw, "my.toml")
    assert "\n" not in str(error.value)


SECTIONS = {
    "model": ModelOptions("nano"),
    "data": DataOptions("rows.jsonl"),
    "training": RunOptions("run"),
}


def test_a_recipe_may_be_built_from_dataclasses():
    raw = {"model": {"base": "nano"}, "data": {"train": "rows.jsonl"}}
    raw["training"] = {"output": "run"}
    assert Recipe("dense", **SECTIONS) == Recipe.parse("dense", raw)


def test_a_section_of_another_type_is_named():
    with pytest.raises(InputError, match="model must be ModelOptions, not dict"):
        Recipe("dense", **SECTIONS | {"model": {"base": "nano"}})


def test_an_option_of_another_type_is_named():
    with pytest.raises(InputError, match=r"training\.steps must be int, not '3'"):
        Recipe("dense", **SECTIONS | {"training": RunOptions("run", steps="3")})


@pytest.mark.parametrize("objective", ["mlm", "late", "", None])
def test_an_unknown_objective_is_refused(objective):
    with pytest.raises(InputError, match="kind must be dense or colbert"):
        Recipe(objective, **SECTIONS)


@pytest.mark.parametrize(
    ("name", "needs_scores"),
    [("contrastive", False), ("cached", False), ("kl", True), ("margin-mse", True)],
)
def test_distillation_needs_scores(name, needs_scores):
    recipe = Recipe.parse("dense", raw_recipe("nano", "rows.jsonl", "run", loss={"name": name}))
    assert recipe.needs_scores == needs_scores
