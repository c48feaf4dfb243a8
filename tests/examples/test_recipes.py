"""Every recipe of examples/ runs: on a tiny network, on rows in the form of its own data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mbert_retrieval import load_encoder
from mbert_retrieval.training import mine, pretrain, row_readers, train
from mbert_retrieval.training.mining import MineRecipe
from mbert_retrieval.training.mlm import MlmRecipe
from mbert_retrieval.training.recipe import Recipe
from mbert_retrieval.training.recipe_toml import override, read_toml
from support.training_data import pairs, write_bare, write_jsonl

pytestmark = pytest.mark.filterwarnings("ignore")

EXAMPLES = Path(__file__).parents[2] / "examples"
RETRIEVERS = sorted(
    p for p in EXAMPLES.glob("*/*.toml") if p.parent.name != "mlm" and p.stem != "mine"
)
COUNT = 40


@pytest.fixture(scope="module")
def bases(tmp_path_factory, tiny_encoder_folder):
    return {
        "bare": write_bare(tmp_path_factory.mktemp("bare"), hidden_size=64, num_attention_heads=4),
        "late": tiny_encoder_folder,
    }


def hub_sets():
    """A few rows of every set of the hub that the recipes name, in that set's columns."""
    numbered = [(i, query, document) for i, (query, document) in enumerate(pairs(COUNT))]
    others = [f"x{i} other" for i in range(COUNT)]
    return {
        "sentence-transformers/msmarco-co-condenser-margin-mse-sym-mnrl-mean-v1/triplet-hard": [
            {"query": q, "positive": d, "negative": others[i]} for i, q, d in numbered
        ],
        "lightonai/ms-marco-en-bge/train": [
            {
                "query_id": i,
                "document_ids": [(i + j) % COUNT for j in range(32)],
                "scores": [1 / (1 + j) for j in range(32)],
            }
            for i in range(COUNT)
        ],
        "lightonai/ms-marco-en-bge/queries": [{"query_id": i, "text": q} for i, q, _ in numbered],
        "lightonai/ms-marco-en-bge/documents": [
            {"document_id": i, "text": d} for i, _, d in numbered
        ],
        "sentence-transformers/mldr/en-triplet": [
            {"anchor": q, "positive": d, "negative": others[i]} for i, q, d in numbered
        ],
        "nomic-ai/cornstack-python-v1": [
            {"query": q, "document": d, "negatives": [others[i - j] for j in range(7)]}
            for i, q, d in numbered
        ],
    }


def small(raw, base, output):
    """The recipe for a tiny network and few rows; everything else stays as it is."""
    held_out = "held_out" in raw["data"]
    return override(
        raw,
        [
            f"model.base={base}",
            f"training.output={output}",
            "training.steps=1",
            "training.batch=4",
            "training.accumulate=1",
            "training.precision=fp32",
            *(["data.held_out=10", "data.rows=20"] if held_out else []),
            *(["loss.matryoshka=[64, 16]"] if "matryoshka" in raw["loss"] else []),
        ],
    )


@pytest.mark.parametrize("path", RETRIEVERS, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_a_retriever_recipe_runs(path, bases, tmp_path, monkeypatch):
    monkeypatch.setattr(
        row_readers, "load_hub", lambda source: hub_sets()[source.removeprefix("hub:")]
    )
    raw = read_toml(path)
    kind = raw["kind"]
    Recipe.parse(kind, raw, str(path))
    late = "GTE-ModernColBERT" in raw["model"]["base"]
    base = bases["late" if late else "bare"]
    output = tmp_path / "run"
    encoder = load_encoder(train(Recipe.parse(kind, small(raw, base, output))))
    assert encoder.kind == {"dense": "dense", "colbert": "late"}[kind]
    assert json.loads((output / "summary.json").read_text())["steps"] == 1
    assert encoder.document.limit >= 48


@pytest.mark.parametrize("name", ["1-pretrain", "2-long", "adapt"])
def test_a_pretraining_recipe_runs(name, tmp_path, monkeypatch):
    from transformers import ModernBertForMaskedLM

    from support.tiny_models import tiny_config, tiny_tokenizer

    pytest.importorskip("optimi")
    base = tmp_path / "base"
    ModernBertForMaskedLM(tiny_config(max_position_embeddings=1024)).save_pretrained(base)
    tiny_tokenizer().save_pretrained(base)
    texts = write_jsonl(tmp_path / "texts.jsonl", [{"text": q * 20} for q, _ in pairs(COUNT)])
    raw = read_toml(EXAMPLES / "mlm" / f"{name}.toml")
    MlmRecipe.parse(raw)
    shape = (
        "{hidden_size = 32, intermediate_size = 48, num_hidden_layers = 3, num_attention_heads = 2}"
    )
    small = override(
        raw,
        [
            f"data.train={texts}",
            f"training.output={tmp_path / 'run'}",
            "training.steps=2",
            "training.batch=1",
            "training.accumulate=1",
            "training.precision=fp32",
            f"model.base={base}" if "base" in raw["model"] else f"model.tokenizer={base}",
            *([f"model.shape={shape}"] if "shape" in raw["model"] else []),
        ],
    )
    folder = pretrain(MlmRecipe.parse(small))
    config = json.loads((folder / "config.json").read_text())
    theta, positions = {
        "1-pretrain": (10_000, 1024),
        "2-long": (160_000, 8192),
        "adapt": (160_000, 1024),
    }[name]
    assert (config["global_rope_theta"], config["max_position_embeddings"]) == (theta, positions)


def test_the_mining_recipe_runs(bases, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_jsonl(tmp_path / "pairs.jsonl", [{"query": q, "positive": d} for q, d in pairs(COUNT)])
    corpus = [{"_id": str(i), "text": d} for i, (_, d) in enumerate(pairs(COUNT))]
    write_jsonl(tmp_path / "corpus.jsonl", corpus)
    raw = override(
        read_toml(EXAMPLES / "code" / "mine.toml"),
        [f"mining.encoder={bases['bare']}", "mining.negatives=2", "mining.relative_margin=0.0001"],
    )
    mined = mine(MineRecipe.parse(raw))
    assert mined.rows + mined.short == COUNT
    assert mined.rows > 0
