"""Fine-tuning on tasks in the layout of the hub's `nyu-mll/glue`, and its measures."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbert_retrieval import InputError
from mbert_retrieval.eval.glue import FineTuning, fine_tune, score_predictions
from mbert_retrieval.eval.suites import find_suite
from support.eval_hub import Repository


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Learnable: the label of RTE says whether both sentences have the word "list"; STS-B's score
    grows with the number of times that "file" comes."""
    folder = tmp_path_factory.mktemp("glue")
    draw = random.Random(0)
    words = ["return", "python", "read", "write", "how", "the", "of", "parse"]
    glue = Repository(folder, "nyu-mll/glue", "parquet")

    def text(extra):
        return " ".join(draw.sample([*draw.choices(words, k=5), *extra], 5 + len(extra)))

    for split, count in {"train": 160, "validation": 60}.items():
        rows = []
        for i in range(count):
            label = draw.randrange(2)
            pair = [text(["list"] * label), text(["list"] * label)]
            rows.append({"sentence1": pair[0], "sentence2": pair[1], "label": label, "idx": i})
        glue.add("rte", split, rows)
        rows = []
        for i in range(count):
            times = draw.randrange(6)
            pair = [text(["file"] * times), text([])]
            rows.append(
                {"sentence1": pair[0], "sentence2": pair[1], "label": float(times), "idx": i}
            )
        glue.add("stsb", split, rows)
    return folder


@pytest.mark.parametrize(
    ("name", "least"),
    [("glue-rte", 0.8), pytest.param("glue-stsb", 0.8, marks=pytest.mark.slow)],
)
def test_a_task_is_learnt(root, bare_folder, name, least):
    suite = find_suite("glue")
    (task,) = suite.classification(name)
    options = FineTuning(epochs=4, learning_rate=1e-3, batch=16)
    seen = []
    result = fine_tune(suite, task, str(bare_folder), options, data_root=root, progress=seen.append)
    assert result.measures["score"] > least
    assert seen[-1] == 4 * 160
    assert result.suite["task"] == name
    assert result.dataset["queries"] == 60
    if name == "glue-rte":
        values = result.per_query["accuracy"]
        assert result.measures["accuracy"] == pytest.approx(sum(values.values()) / 60)


def test_command_writes_a_cell_and_uses_it_again(root, bare_folder, tmp_path):
    command = [sys.executable, "-m", "mbert_retrieval.cli.eval", "glue", bare_folder, "--json"]
    command += ["--datasets", "glue-rte", "--data-root", root, "--epochs", "1"]
    command += ["--results", tmp_path / "results"]
    first, second = (
        subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        for _ in range(2)
    )
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout
    record = json.loads(first.stdout)
    assert record["search"]["learning_rate"] == 5e-5
    assert record["measures"]["score"] == record["measures"]["accuracy"]
    (path,) = (tmp_path / "results").iterdir()
    assert path.name.startswith("glue-rte-validation-")


def test_labels_out_of_range_are_named(root, bare_folder, tmp_path):
    glue = Repository(tmp_path, "nyu-mll/glue", "jsonl")
    row = {"sentence1": "a", "sentence2": "b", "idx": 0}
    glue.add("rte", "train", [{**row, "label": 0}, {**row, "label": -1}])
    glue.add("rte", "validation", [{**row, "label": 1}])
    suite = find_suite("glue")
    (task,) = suite.classification("glue-rte")
    with pytest.raises(InputError, match=r"\(rte, train\), row 1: the label -1 is not a label of"):
        fine_tune(suite, task, str(bare_folder), FineTuning(), data_root=tmp_path)


pairs = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), min_size=2, max_size=40)


@given(pairs)
def test_matthews_agrees_with_its_definition(values):
    chosen, labels = np.array(values).T
    logits = np.stack([1.0 - chosen, chosen], axis=1)
    tp, tn = (int(((chosen == c) & (labels == c)).sum()) for c in (1, 0))
    fp, fn = (int(((chosen == c) & (labels != c)).sum()) for c in (1, 0))
    below = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    expected = (tp * tn - fp * fn) / below**0.5 if below else 0.0
    assert score_predictions("matthews", logits, labels)[0] == pytest.approx(expected, abs=1e-9)
    accuracy, examples = score_predictions("accuracy", logits, labels)
    assert accuracy == pytest.approx((tp + tn) / len(values))
    assert sum(examples.values()) == tp + tn
