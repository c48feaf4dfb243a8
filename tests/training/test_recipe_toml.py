"""Recipes as TOML: read, overridden, and written."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbert_retrieval import InputError
from mbert_retrieval.training import MineRecipe, MlmRecipe
from mbert_retrieval.training.recipe import Recipe
from mbert_retrieval.training.recipe_toml import override, read_toml, to_toml
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
    recipe = Recipe.parse("dense", raw)
    assert recipe.training.learning_rate == rate
    assert Recipe.parse("dense", tomllib.loads(to_toml(recipe))) == recipe


def test_a_mining_recipe_reads_back_the_same():
    mining = {"output": "out.jsonl", "kind": "plaid", "relative_margin": 0.1}
    recipe = MineRecipe.parse({"data": {"train": "rows.jsonl"}, "mining": mining})
    assert MineRecipe.parse(tomllib.loads(to_toml(recipe))) == recipe


def test_a_pretraining_recipe_reads_back_the_same():
    sections = {"data": {"train": "texts.jsonl"}, "training": {"output": "run"}}
    recipe = MlmRecipe.parse(sections | {"model": {"tokenizer": "x", "shape": {"hidden_size": 8}}})
    assert MlmRecipe.parse(tomllib.loads(to_toml(recipe))) == recipe


def test_the_engine_of_mining_is_the_option_kind():
    raw = {"data": {"train": "rows.jsonl"}, "mining": {"output": "out.jsonl", "kind": "faiss"}}
    assert MineRecipe.parse(raw).mining.engine == "faiss"
    raw["mining"] = {"output": "out.jsonl", "engine": "faiss"}
    with pytest.raises(InputError, match=r"mining\.engine is unknown"):
        MineRecipe.parse(raw)


def test_a_file_of_the_first_version_is_still_written_the_same():
    """A run resumes only if its recipe.toml is what the recipe is written as."""
    text = to_toml(Recipe.parse("colbert", raw_recipe("nano", "rows.jsonl", "out")))
    assert text.splitlines()[:5] == [
        'kind = "colbert"',
        "",
        "[model]",
        'base = "nano"',
        "gradient_checkpointing = false",
    ]
    assert [line for line in text.splitlines() if line.startswith("[")] == [
        "[model]", "[data]", "[loss]", "[training]", "[evaluation]",
    ]  # fmt: skip


def test_assignments_override_the_sections():
    raw = raw_recipe("nano", "rows.jsonl", "out")
    assignments = ["training.batch=512", "loss.name=cached", "loss.matryoshka=[8, 4]"]
    recipe = Recipe.parse("dense", override(raw, assignments))
    assert (recipe.training.batch, recipe.loss.name) == (512, "cached")
    assert recipe.loss.matryoshka == (8, 4)


def test_a_value_that_is_not_toml_is_a_string():
    assert override({}, ["model.base=a b"]) == {"model": {"base": "a b"}}


def test_assignments_leave_the_given_sections_unchanged():
    raw = raw_recipe("nano", "rows.jsonl", "out")
    override(raw, ["training.batch=512"])
    assert raw["training"]["batch"] == 8


@pytest.mark.parametrize("assignment", ["training.batch", "batch=3", ".x=1", "training.=1"])
def test_what_is_no_assignment_is_refused(assignment):
    with pytest.raises(InputError, match=r"section\.key=value"):
        override({}, [assignment])


def test_an_assignment_needs_a_section():
    with pytest.raises(InputError, match="kind is not a section"):
        override({"kind": "dense"}, ["kind.x=1"])


def test_a_broken_file_is_named(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text("x = \n")
    with pytest.raises(InputError, match=r"a\.toml: not TOML .*line 1"):
        read_toml(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*b\.toml"):
        read_toml(tmp_path / "b.toml")


def test_a_recipe_of_another_kind_is_refused():
    with pytest.raises(InputError, match="of kind 'colbert', not 'dense'"):
        Recipe.parse("dense", {"kind": "colbert"})


@pytest.mark.parametrize("raw", ["dense.toml", None, [("model", {})]])
def test_sections_must_be_a_dictionary(raw):
    with pytest.raises(InputError, match="config must be a dictionary of sections"):
        Recipe.parse("dense", raw)
