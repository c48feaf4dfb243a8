"""Recipes: TOML in, TOML out, flags over it, and one clear line about a mistake."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbert_retrieval import InputError
from mbert_retrieval.training.recipe import override, parse, read_toml, to_toml
from support.training_data import raw_recipe

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(
    TEXT,
    st.floats(1e-9, 1e3),
    st.lists(st.integers(1, 512)),
    st.dictionaries(TEXT, TEXT),
    st.booleans(),
)
def test_a_saved_recipe_reads_back_the_same(text, rate, dims, columns, flag):
    raw = raw_recipe(text, text, text)
    raw["model"] |= {"query_prompt": text, "normalize": flag}
    raw["training"] |= {"learning_rate": rate, "report_to": [text]}
    raw["loss"] = {"name": "cached", "matryoshka": dims}
    raw["data"]["columns"] = columns
    recipe = parse("dense", raw)
    assert recipe.training.learning_rate == rate
    assert parse("dense", tomllib.loads(to_toml(recipe))) == recipe


def test_assignments_go_over_the_config():
    raw = raw_recipe("nano", "rows.jsonl", "out")
    merged = override(
        raw, ["training.batch=512", "loss.name=cached", "model.base=a b", "loss.matryoshka=[8, 4]"]
    )
    recipe = parse("dense", merged)
    assert (recipe.training.batch, recipe.loss.name) == (512, "cached")
    assert (recipe.model.base, recipe.loss.matryoshka) == ("a b", (8, 4))
    assert raw["training"]["batch"] == 8
    for bad in ("training.batch", "batch=3", ".x=1", "training.=1"):
        with pytest.raises(InputError, match=r"section\.key=value"):
            override(raw, [bad])


@pytest.mark.parametrize(
    ("kind", "section", "key", "value", "message"),
    [
        ("dense", "training", "bacth", 8, "training.bacth is unknown"),
        ("dense", "training", "batch", "8", "training.batch must be int"),
        ("dense", "training", "batch", True, "training.batch must be int"),
        ("dense", "training", "batch", 0, "training.batch must be at least 1"),
        ("dense", "training", "steps", 0, "training.steps must be at least 1"),
        ("dense", "training", "learning_rate", -1, "training.learning_rate must be above 0"),
        ("dense", "training", "warmup", 1.5, "training.warmup is a share"),
        ("dense", "training", "optimizer", "sgd", "training.optimizer must be one of"),
        ("dense", "training", "output", "", "training.output is missing"),
        ("dense", "loss", "name", "triplet", "loss.name must be one of"),
        ("dense", "loss", "temperature", 0, "loss.temperature must be above 0"),
        ("dense", "loss", "xtr", 8, "loss.xtr needs colbert"),
        ("colbert", "loss", "matryoshka", [8], "loss.matryoshka means nothing"),
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
        parse(kind, raw, "my.toml")
    assert "\n" not in str(error.value)


def test_files_that_are_no_recipe(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text("x = \n")
    with pytest.raises(InputError, match=r"a\.toml: not TOML"):
        read_toml(path)
    with pytest.raises(InputError, match=r"cannot read .*b\.toml"):
        read_toml(tmp_path / "b.toml")
    with pytest.raises(InputError, match="of kind 'colbert', not 'dense'"):
        parse("dense", {"kind": "colbert"})
