"""The folder of a run: its recipe and its checkpoints."""

from __future__ import annotations

import pytest

from mbert_retrieval import InputError
from mbert_retrieval.training import Recipe
from mbert_retrieval.training.run_folder import RunFolder
from support.training_data import raw_recipe


def recipe(steps=1):
    return Recipe.parse("dense", raw_recipe("nano", "rows.jsonl", "run", training={"steps": steps}))


def checkpoint(folder, number, state="{}"):
    path = folder / f"checkpoint-{number}"
    path.mkdir()
    if state is not None:
        (path / "trainer_state.json").write_text(state)
    return path


def test_the_last_checkpoint_is_the_one_with_the_highest_number(tmp_path):
    for number in (9, 100, 20):
        checkpoint(tmp_path, number)
    assert RunFolder(tmp_path).last_checkpoint() == str(tmp_path / "checkpoint-100")


def test_a_new_run_has_no_checkpoint(tmp_path):
    assert RunFolder(tmp_path).last_checkpoint() is None


@pytest.mark.parametrize("state", [None, "", '{"global_step": 1'])
def test_an_incomplete_checkpoint_is_removed(tmp_path, state):
    complete = checkpoint(tmp_path, 2)
    incomplete = checkpoint(tmp_path, 3, state)
    assert RunFolder(tmp_path).last_checkpoint() == str(complete)
    assert not incomplete.exists()
    assert complete.exists()


def test_other_files_are_left_alone(tmp_path):
    other = checkpoint(tmp_path, "of-mine", None)
    file = tmp_path / "checkpoint-7"
    file.write_text("a file")
    assert RunFolder(tmp_path).last_checkpoint() is None
    assert other.exists()
    assert file.exists()


def test_the_same_recipe_may_be_recorded_again(tmp_path):
    for _ in range(2):
        RunFolder(tmp_path / "run").record_recipe(recipe())
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["recipe.toml"]


def test_another_recipe_is_refused_and_the_first_one_stays(tmp_path):
    folder = RunFolder(tmp_path)
    folder.record_recipe(recipe(1))
    first = folder.recipe.read_text()
    with pytest.raises(InputError, match="holds a run of another recipe"):
        folder.record_recipe(recipe(2))
    assert folder.recipe.read_text() == first


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write .*file/run"):
        RunFolder(tmp_path / "file" / "run").record_recipe(recipe())
