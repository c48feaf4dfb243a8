"""Whole runs: the folder they leave, interruption, overfitting, evaluation."""

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
from mbert_retrieval.training.finetune import arguments_of, check_devices, total_steps
from mbert_retrieval.training.recipe import RunOptions, parse, to_toml
from mbert_retrieval.training.run_folder import last_checkpoint
from support.tiny_models import TEXTS
from support.training_data import pairs, raw_recipe, triplets, write_bare, write_jsonl

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    return write_bare(tmp_path_factory.mktemp("bare"))


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_jsonl(tmp_path_factory.mktemp("rows") / "rows.jsonl", triplets(64))


def flat(vectors):
    if isinstance(vectors, np.ndarray):
        return vectors
    return np.concatenate([vector.cpu().numpy() for vector in vectors])


@pytest.mark.parametrize("kind", ["dense", "colbert"])
def test_a_trained_folder_loads_everywhere_with_the_same_vectors(bare, rows, tmp_path, kind):
    from sentence_transformers import MultiVectorEncoder, SentenceTransformer

    model = {"query_length": 24, "document_length": 64}
    if kind == "dense":
        model |= {"query_prompt": "how: ", "document_prompt": "the "}
    recipe = parse(kind, raw_recipe(bare, rows, tmp_path / "run", model=model))
    logged = []
    folder = train(recipe, lambda step, steps, logs: logged.append((step, steps)))
    plain = SentenceTransformer if kind == "dense" else MultiVectorEncoder
    theirs, ours = plain(str(folder), device="cpu"), load_encoder(folder)
    assert (ours.query.limit, ours.document.limit) == ((64 if kind == "dense" else 24), 64)
    texts = [text[:60] for text in TEXTS]
    np.testing.assert_allclose(
        ours.encode_documents(texts).values, flat(theirs.encode_document(texts)), atol=1e-5
    )
    queries = [text[:12] for text in TEXTS]
    np.testing.assert_allclose(
        ours.encode_queries(queries).values, flat(theirs.encode_query(queries)), atol=1e-5
    )
    start = read_tensors(bare)["layers.0.mlp.Wi.weight"]
    assert (read_tensors(folder)["layers.0.mlp.Wi.weight"] - start).abs().max() > 1e-4
    assert (tmp_path / "run" / "recipe.toml").read_text() == to_toml(recipe)
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["steps"] == 4
    assert "SentenceTransformer" in (folder / "README.md").read_text() or kind == "colbert"
    assert logged[-1] == (4, 4)
    assert not (tmp_path / "run" / "rows.arrow").exists()


def test_killed_and_resumed_ends_with_the_weights_of_an_uninterrupted_run(bare, rows, tmp_path):
    changes = {"training": {"steps": 8, "save_every": 2, "schedule": "trapezoid"}}
    whole = train(parse("dense", raw_recipe(bare, rows, tmp_path / "whole", **changes)))
    killed = parse("dense", raw_recipe(bare, rows, tmp_path / "killed", **changes))
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
def test_a_run_goes_on_from_its_last_whole_checkpoint(bare, rows, tmp_path, model):
    training = {"steps": 6, "save_every": 2, "log_every": 1, "epochs": 3}
    changes = {"training": training, "model": model}
    whole = train(parse("colbert", raw_recipe(bare, rows, tmp_path / "whole", **changes)))
    recipe = parse("colbert", raw_recipe(bare, rows, tmp_path / "cut", **changes))
    seen = []

    def interrupt(step, steps, logs):
        seen.append(step)
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, interrupt)
    half_written = tmp_path / "cut" / "checkpoint-900"
    half_written.mkdir()
    (half_written / "model.safetensors").write_bytes(b"")
    (half_written / "trainer_state.json").write_text("{")
    assert last_checkpoint(tmp_path / "cut") == str(tmp_path / "cut" / "checkpoint-4")
    assert not half_written.exists()
    seen.clear()
    resumed = train(recipe, lambda step, steps, logs: seen.append(step))
    assert seen[0] == 5
    assert_same_weights(whole, resumed)


@pytest.mark.parametrize("kind", ["dense", "colbert"])
def test_lora_adds_to_the_matrices_what_the_rank_allows_and_nothing_else(
    bare, rows, tmp_path, kind
):
    changes = {"model": {"lora_rank": 3}, "training": {"steps": 6, "save_every": 2}}
    model = parse(kind, raw_recipe(bare, rows, tmp_path / "run", **changes))
    before, after = read_tensors(bare), read_tensors(train(model))
    updates = read_tensors(tmp_path / "run" / "checkpoint-6")
    vocabulary = len(before["embeddings.tok_embeddings.weight"])
    for name, weight in before.items():
        added = after[name][:vocabulary] - weight
        matrix = name.removesuffix(".weight")
        if not matrix.endswith(("Wqkv", "Wo", "Wi")):
            assert not added.any(), name
            continue
        assert torch.linalg.matrix_rank(added, rtol=1e-3) == 3, name
        low, high = (updates[f"{matrix}.lora_{side}.default.weight"] for side in "AB")
        torch.testing.assert_close(added, 2 * high @ low, atol=1e-6, rtol=1e-5)


def test_a_folder_of_another_run_is_refused(bare, rows, tmp_path):
    recipe = parse("dense", raw_recipe(bare, rows, tmp_path, training={"steps": 1}))
    train(recipe)
    other = parse("dense", raw_recipe(bare, rows, tmp_path, training={"steps": 2}))
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
    recipe = parse(kind, raw_recipe(bare, data, tmp_path / "run", training=training, model=model))
    assert mean_reciprocal_rank(bare) < 0.2
    assert mean_reciprocal_rank(train(recipe)) == 1.0


def test_no_passage_comes_twice_in_a_batch(bare, tmp_path):
    """Eight rows on each of four passages: a batch of four holds each once, if it can be full."""
    rows = [{"query": f"q {i}", "positive": f"passage {i % 4}"} for i in range(32)]
    data = write_jsonl(tmp_path / "rows.jsonl", rows)
    recipe = parse("dense", raw_recipe(bare, data, tmp_path / "run", training={"batch": 4}))
    from mbert_retrieval.training import finetune
    from mbert_retrieval.training.dataset import build_dataset
    from mbert_retrieval.training.initial_encoder import start_encoder
    from mbert_retrieval.training.packed_module import sentence_transformer

    dataset = build_dataset(recipe, tmp_path)
    model = sentence_transformer(start_encoder("dense", recipe.model))
    trainer = finetune._trainer(recipe, model, dataset, None, finetune.log_callback(tmp_path, None))
    sampler = trainer.get_train_dataloader().batch_sampler
    batches = [dataset[list(batch)]["document_1"] for batch in sampler]
    assert sorted(text for batch in batches for text in batch) == sorted(dataset["document_1"])
    assert all(len(set(batch)) == len(batch) for batch in batches)


def test_the_best_checkpoint_is_kept_by_ndcg(bare, rows, tmp_path):
    beir = tmp_path / "beir"
    (beir / "qrels").mkdir(parents=True)
    write_jsonl(
        beir / "queries.jsonl", [{"_id": str(i), "text": q} for i, (q, _) in enumerate(pairs(20))]
    )
    write_jsonl(
        beir / "corpus.jsonl", [{"_id": f"d{i}", "text": d} for i, (_, d) in enumerate(pairs(20))]
    )
    (beir / "qrels" / "dev.tsv").write_text("".join(f"{i}\td{i}\t1\n" for i in range(20)))
    recipe = parse(
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


@pytest.mark.parametrize(
    ("steps", "warmup", "decay"), [(100, 0.1, 0.3), (40, 0.05, 0.1), (10, 0.0, 0.5)]
)
def test_the_trapezoid_decays_by_one_minus_sqrt(steps, warmup, decay):
    """Against the formula of Hägele et al. 2024."""
    from transformers import get_scheduler

    run = RunOptions(output="x", steps=steps, warmup=warmup, decay=decay, schedule="trapezoid")
    arguments = arguments_of(run, 10**6)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    warm = int(np.ceil(steps * warmup))
    scheduler = get_scheduler(
        arguments["lr_scheduler_type"],
        optimizer,
        warm,
        steps,
        arguments["lr_scheduler_kwargs"],
    )
    rates = []
    for _ in range(steps):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    flat_end = steps - round(steps * decay)
    for step, rate in enumerate(rates):
        if step < warm:
            expected = step / warm
        elif step < flat_end:
            expected = 1.0
        else:
            expected = 1 - np.sqrt((step - flat_end) / (steps - flat_end))
        assert rate == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("rows", "batch", "accumulate", "epochs", "expected"),
    [(100, 16, 1, 1.0, 7), (100, 10, 4, 2.0, 6), (5, 16, 1, 0.5, 1), (100, 10, 1, 0.5, 5)],
)
def test_steps_of_epochs(rows, batch, accumulate, epochs, expected):
    run = RunOptions(batch=batch, accumulate=accumulate, epochs=epochs)
    assert total_steps(run, rows) == expected


def test_stable_adamw_trains(bare, rows, tmp_path):
    pytest.importorskip("optimi")
    training = {"steps": 2, "optimizer": "stable-adamw"}
    folder = train(parse("dense", raw_recipe(bare, rows, tmp_path, training=training)))
    start = read_tensors(bare)["layers.0.mlp.Wi.weight"]
    assert (read_tensors(folder)["layers.0.mlp.Wi.weight"] - start).abs().max() > 1e-5


@pytest.mark.parametrize("kind", ["dense", "colbert"])
def test_bfloat16_trains_float32_weights(bare, rows, tmp_path, kind):
    training = {"steps": 2, "precision": "bf16"}
    loss = {"name": "cached", "mini_batch": 3}
    folder = train(parse(kind, raw_recipe(bare, rows, tmp_path, training=training, loss=loss)))
    start, end = read_tensors(bare), read_tensors(folder)
    assert {tensor.dtype for tensor in end.values()} == {torch.float32}
    moved = end["layers.0.mlp.Wi.weight"] - start["layers.0.mlp.Wi.weight"]
    assert 1e-5 < moved.abs().max() < 0.1


def test_several_gpus_in_one_process_are_refused():
    with pytest.raises(InputError, match="start with torchrun --nproc-per-node 4"):
        check_devices(4)
