"""mbert-train: recipes and flags in, one folder out, nothing but JSON on standard output."""

from __future__ import annotations

import json
import sys

import pytest

from mbert_retrieval import load_encoder
from mbert_retrieval.cli import train as cli
from mbert_retrieval.training.recipe import Recipe
from mbert_retrieval.training.recipe_toml import read_toml, to_toml
from support.tiny_models import tiny_tokenizer
from support.training_data import raw_recipe, triplets, write_bare, write_jsonl

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    return write_bare(tmp_path_factory.mktemp("bare"))


@pytest.fixture
def rows(tmp_path):
    return write_jsonl(tmp_path / "rows.jsonl", triplets(32))


def run(monkeypatch, capfd, *arguments):
    """Exit code, standard output, standard error."""
    monkeypatch.setattr(sys, "argv", ["mbert-train", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    captured = capfd.readouterr()
    return caught.value.code, captured.out, captured.err


@pytest.mark.parametrize("kind", ["dense", "colbert"])
def test_a_config_with_flags_over_it(bare, rows, tmp_path, monkeypatch, capfd, kind):
    recipe = Recipe.parse(kind, raw_recipe(bare, rows, tmp_path / "unused"))
    config = tmp_path / "config.toml"
    config.write_text(to_toml(recipe))
    code, out, _ = run(
        monkeypatch, capfd, kind, config, "--output", tmp_path / "run", "--steps", 2,
        "--batch", 4, "--set", "training.log_every=1", "--json",
    )  # fmt: skip
    assert code == 0
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [1, 2]
    assert lines[-1] == {"model": str(tmp_path / "run" / "model")}
    assert load_encoder(lines[-1]["model"]).kind == ("late" if kind == "colbert" else "dense")
    saved = Recipe.parse(kind, read_toml(tmp_path / "run" / "recipe.toml"))
    assert (saved.training.steps, saved.training.batch) == (2, 4)
    assert not (tmp_path / "unused").exists()


def test_without_json_the_folder_alone_is_on_standard_output(
    bare, rows, tmp_path, monkeypatch, capfd
):
    code, out, err = run(
        monkeypatch, capfd, "dense", "--base", bare, "--data", rows, "--output", tmp_path / "run",
        "--steps", 1,
    )  # fmt: skip
    assert (code, out) == (0, f"{tmp_path / 'run' / 'model'}\n")
    assert "step 1 of 1" in err


def test_mlm(tmp_path, monkeypatch, capfd):
    tiny_tokenizer().save_pretrained(tmp_path / "tokenizer")
    texts = write_jsonl(
        tmp_path / "texts.jsonl", [{"text": f"to read file {i}"} for i in range(40)]
    )
    shape = "{hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2}"
    code, out, _ = run(
        monkeypatch, capfd, "mlm", "--data", texts, "--output", tmp_path / "run", "--steps", 2,
        "--set", f"model.tokenizer={tmp_path / 'tokenizer'}", "--set", f"model.shape={shape}",
        "--set", "data.length=64", "--set", "training.optimizer=adamw", "--json",
    )  # fmt: skip
    assert code == 0
    assert json.loads(out.splitlines()[-1]) == {"model": str(tmp_path / "run" / "model")}


def test_mine(bare, rows, tmp_path, monkeypatch, capfd):
    code, out, _ = run(
        monkeypatch, capfd, "mine", "--encoder", bare, "--data", rows, "--negatives", 2,
        "--output", tmp_path / "mined.jsonl", "--json",
    )  # fmt: skip
    assert code == 0
    assert json.loads(out) == {"output": str(tmp_path / "mined.jsonl"), "rows": 32, "short": 0}
    assert len((tmp_path / "mined.jsonl").read_text().splitlines()) == 32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("dense",), "model.base is missing"),
        (("dense", "nowhere.toml"), "cannot read nowhere.toml"),
        (("colbert", "--set", "training.batch"), "is not section.key=value"),
        (("dense", "--batch", "many"), "Invalid value for '--batch'"),
        (("mlm",), "set either model.base"),
        (("mine",), "data.train is missing"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(monkeypatch, capfd, arguments, message):
    code, out, err = run(monkeypatch, capfd, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_a_bad_row_names_file_and_line(bare, rows, tmp_path, monkeypatch, capfd):
    rows.write_text(rows.read_text() + '{"query": "q"}\n')
    code, _, err = run(
        monkeypatch, capfd, "dense", "--base", bare, "--data", rows, "--output", tmp_path / "run"
    )
    assert code == 2
    assert f"error: {rows}:33: no 'positive'" in err
