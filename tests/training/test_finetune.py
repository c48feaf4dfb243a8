"""Whole fine-tuning runs: what they train and write, interruption, overfitting, evaluation."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from mbert_retrieval import InputError, load_encoder
from mbert_retrieval.backbone.checkpoint import read_tensors
from mbert_retrieval.training import train
from mbert_retrieval.training.dataset import build_dataset
from mbert_retrieval.training.finetune import build_trainer
from mbert_retrieval.training.initial_encoder import initial_encoder
from mbert_retrieval.training.packed_module import to_sentence_transformers
from mbert_retrieval.training.recipe import Recipe
from mbert_retrieval.training.recipe_toml import to_toml
from mbert_retrieval.training.run_folder import RunFolder
from support.tiny_models import TEXTS
from support.training_data import pairs, raw_recipe, triplets, write_bare, write_jsonl

pytestmark = pytest.mark.filterwarnings("ignore")

MATRIX = "layers.0.mlp.Wi.weight"


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    return write_bare(tmp_path_factory.mktemp("bare"))


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_jsonl(tmp_path_factory.mktemp("rows") / "rows.jsonl", triplets(64))


@pytest.fixture(scope="module", params=["dense", "colbert"])
def finished(request, bare, rows, tmp_path_factory):
    """(recipe, folder of the model, (step, steps) of the reports) of a finished run."""
    model = {"query_length": 24, "document_length": 64}
    if request.param == "dense":
        model |= {"query_prompt": "how: ", "document_prompt": "the "}
    raw = raw_recipe(bare, rows, tmp_path_factory.mktemp("finished") / "run", model=model)
    recipe = Recipe.parse(request.param, raw)
    reported = []
    folder = train(recipe, lambda step, steps, logs: reported.append((step, steps)))
    return recipe, folder, reported


def flat(vectors):
    if isinstance(vectors, np.ndarray):
        return vectors
    return np.concatenate([vector.cpu().numpy() for vector in vectors])


def in_sentence_transformers(recipe, folder):
    from sentence_transformers import MultiVectorEncoder, SentenceTransformer

    plain = SentenceTransformer if recipe.objective == "dense" else MultiVectorEncoder
    return plain(str(folder), device="cpu")


def test_documents_have_the_same_vectors_in_sentence_transformers(finished):
    recipe, folder, _ = finished
    texts = [text[:60] for text in TEXTS]
    theirs = in_sentence_transformers(recipe, folder).encode_document(texts)
    ours = load_encoder(folder).encode_documents(texts)
    np.testing.assert_allclose(ours.values, flat(theirs), atol=1e-5)


def test_queries_have_the_same_vectors_in_sentence_transformers(finished):
    recipe, folder, _ = finished
    queries = [text[:12] for text in TEXTS]
    theirs = in_sentence_transformers(recipe, folder).encode_query(queries)
    ours = load_encoder(folder).encode_queries(queries)
    np.testing.assert_allclose(ours.values, flat(theirs), atol=1e-5)


def test_the_trained_encoder_has_the_lengths_of_the_recipe(finished):
    recipe, folder, _ = finished
    encoder = load_encoder(folder)
    longest = 64 if recipe.objective == "dense" else 24
    assert (encoder.query.limit, encoder.document.limit) == (longest, 64)


def test_training_moves_the_weights(finished, bare):
    _, folder, _ = finished
    assert (read_tensors(folder)[MATRIX] - read_tensors(bare)[MATRIX]).abs().max() > 1e-4


def test_the_run_records_its_recipe(finished):
    recipe, folder, _ = finished
    assert (folder.parent / "recipe.toml").read_text() == to_toml(recipe)


def test_the_summary_has_the_number_of_steps(finished):
    _, folder, _ = finished
    assert json.loads((folder.parent / "summary.json").read_text())["steps"] == 4


def test_the_model_has_a_card(finished):
    recipe, folder, _ = finished
    name = "SentenceTransformer" if recipe.objective == "dense" else "MultiVectorEncoder"
    assert name in (folder / "README.md").read_text()


def test_the_last_report_is_of_the_last_step(finished):
    assert finished[2][-1] == (4, 4)


def test_the_log_has_the_reported_steps(finished):
    _, folder, reported = finished
    lines = (folder.parent / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [step for step, _ in reported]


def test_a_finished_run_leaves_no_rows(finished):
    _, folder, _ = finished
    assert not (folder.parent / "rows.arrow").exists()


@pytest.mark.parametrize("recipe", [None, {}, "recipe.toml"])
def test_what_is_no_recipe_is_a_type_error(recipe):
    with pytest.raises(TypeError, match="recipe must be a Recipe, not"):
        train(recipe)


def test_killed_and_resumed_ends_with_the_weights_of_an_uninterrupted_run(bare, rows, tmp_path):
    changes = {"training": {"steps": 8, "save_every": 2, "schedule": "trapezoid"}}
    whole = train(Recipe.parse("dense", raw_recipe(bare, rows, tmp_path / "whole", **changes)))
    killed = Recipe.parse("dense", raw_recipe(bare, rows, tmp_path / "killed", **changes))
    config = tmp_path / "config.toml"
    config.write_text(to_toml(killed))
    command = [sys.executable, "-m", "mbert_retrieval.cli.train", "dense", str(config)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not list((tmp_path / "killed").glob("checkpoint-*")):
            assert process.poll() is None, "the run ended before it was killed"
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "summary.json").exists()
    resumed = train(killed)
    assert_same_weights(whole, resumed)


def assert_same_weights(first, second):
    left, right = read_tensors(first), read_tensors(second)
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        torch.testing.assert_close(right[name], tensor, atol=1e-7, rtol=0)


@pytest.mark.parametrize("model", [{}, {"lora_rank": 3}])
def test_a_run_resumes_from_its_last_complete_checkpoint(bare, rows, tmp_path, model):
    training = {"steps": 6, "save_every": 2, "log_every": 1, "epochs": 3}
    changes = {"training": training, "model": model}
    whole = train(Recipe.parse("colbert", raw_recipe(bare, rows, tmp_path / "whole", **changes)))
    recipe = Recipe.parse("colbert", raw_recipe(bare, rows, tmp_path / "cut", **changes))
    seen = []

    def interrupt(step, steps, logs):
        seen.append(step)
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, interrupt)
    incomplete = tmp_path / "cut" / "checkpoint-900"
    incomplete.mkdir()
    (incomplete / "model.safetensors").write_bytes(b"")
    (incomplete / "trainer_state.json").write_text("{")
    seen.clear()
    resumed = train(recipe, lambda step, steps, logs: seen.append(step))
    assert seen[0] == 5
    assert_same_weights(whole, resumed)


def test_a_folder_of_another_run_is_refused(bare, rows, tmp_path):
    recipe = Recipe.parse("dense", raw_recipe(bare, rows, tmp_path, training={"steps": 1}))
    train(recipe)
    other = Recipe.parse("dense", raw_recipe(bare, rows, tmp_path, training={"steps": 2}))
    with pytest.raises(InputError, match="run of another recipe"):
        train(other)


PAIRS = [(f"read {i}", f"write {(i * 7919 + 13) % 1009}") for i in range(200)]  # nothing in common


def mean_reciprocal_rank(folder):
    """Of every pair's document among all of them, by plain numpy."""
    encoder = load_encoder(folder)
    queries = encoder.encode_queries([query for query, _ in PAIRS])
    documents = encoder.encode_documents([document for _, document in PAIRS])
    scores = np.array([[(q @ d.T).max(1).sum() for d in documents] for q in queries])
    own = np.diag(scores)[:, None]
    return float((1 / (scores >= own).sum(1)).mean())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dense", "colbert"])
def test_two_hundred_pairs_are_learnt_by_heart(tmp_path, kind):
    bare = write_bare(tmp_path / "bare", hidden_size=64, intermediate_size=128)
    rows = [{"query": query, "positive": positive} for query, positive in PAIRS]
    data = write_jsonl(tmp_path / "pairs.jsonl", rows)
    training = {"steps": 1000, "batch": 100, "learning_rate": 2e-3, "save_every": 1000}
    model = {"query_length": 12, "document_length": 12}
    raw = raw_recipe(bare, data, tmp_path / "run", training=training, model=model)
    recipe = Recipe.parse(kind, raw)
    assert mean_reciprocal_rank(bare) < 0.2
    assert mean_reciprocal_rank(train(recipe)) == 1.0


def test_no_passage_comes_twice_in_a_batch(bare, tmp_path):
    """Eight rows on each of four passages: a batch of four holds each once, if it can be full."""
    rows = [{"query": f"q {i}", "positive": f"passage {i % 4}"} for i in range(32)]
    data = write_jsonl(tmp_path / "rows.jsonl", rows)
    recipe = Recipe.parse("dense", raw_recipe(bare, data, tmp_path / "run", training={"batch": 4}))
    dataset = build_dataset(recipe, tmp_path / "rows.arrow")
    model = to_sentence_transformers(initial_encoder("dense", recipe.model))
    trainer = build_trainer(recipe, model, dataset, RunFolder(tmp_path))
    sampler = trainer.get_train_dataloader().batch_sampler
    batches = [dataset[list(batch)]["document_1"] for batch in sampler]
    assert sorted(text for batch in batches for text in batch) == sorted(dataset["document_1"])
    assert all(len(set(batch)) == len(batch) for batch in batches)


def test_the_best_checkpoint_by_ndcg_is_chosen(bare, rows, tmp_path):
    beir = tmp_path / "beir"
    (beir / "qrels").mkdir(parents=True)
    write_jsonl(
        beir / "queries.jsonl", [{"_id": str(i), "text": q} for i, (q, _) in enumerate(pairs(20))]
    )
    write_jsonl(
        beir / "corpus.jsonl", [{"_id": f"d{i}", "text": d} for i, (_, d) in enumerate(pairs(20))]
    )
    (beir / "qrels" / "dev.tsv").write_text("".join(f"{i}\td{i}\t1\n" for i in range(20)))
    recipe = Recipe.parse(
        "colbert",
        raw_recipe(
            bare,
            rows,
            tmp_path / "run",
            training={"steps": 4, "save_every": 2},
            evaluation={"data": str(beir), "best": True},
        ),
    )
    measured = []
    train(recipe, lambda step, steps, logs: measured.append(logs))
    values = [v for logs in measured for k, v in logs.items() if k.endswith("ndcg@10")]
    best = json.loads((tmp_path / "run" / "summary.json").read_text())["best"]
    assert len(values) == 2
    assert best == pytest.approx(max(values))


def test_stable_adamw_trains(bare, rows, tmp_path):
    pytest.importorskip("optimi")
    training = {"steps": 2, "optimizer": "stable-adamw"}
    folder = train(Recipe.parse("dense", raw_recipe(bare, rows, tmp_path, training=training)))
    start = read_tensors(bare)["layers.0.mlp.Wi.weight"]
    assert (read_tensors(folder)["layers.0.mlp.Wi.weight"] - start).abs().max() > 1e-5


@pytest.mark.parametrize("kind", ["dense", "colbert"])
def test_bfloat16_trains_float32_weights(bare, rows, tmp_path, kind):
    training = {"steps": 2, "precision": "bf16"}
    loss = {"name": "cached", "mini_batch": 3}
    raw = raw_recipe(bare, rows, tmp_path, training=training, loss=loss)
    folder = train(Recipe.parse(kind, raw))
    start, end = read_tensors(bare), read_tensors(folder)
    assert {tensor.dtype for tensor in end.values()} == {torch.float32}
    moved = end["layers.0.mlp.Wi.weight"] - start["layers.0.mlp.Wi.weight"]
    assert 1e-5 < moved.abs().max() < 0.1
