"""The shipped encoder: what the package promises of it, and the two commands on real code."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import mbert_retrieval.encoders
from mbert_retrieval import Index, load_encoder
from mbert_retrieval.sources import read_source
from support.collections import DATA, needs_data

NANO = Path(mbert_retrieval.encoders.__file__).parent / "nano"
ROOT = Path(__file__).resolve().parents[2]
TEXTS = ["parse an ISO date", "def parseISODate(text):\n    return date.fromisoformat(text)", ""]


def test_size():
    stored = sum(path.stat().st_size for path in NANO.rglob("*") if path.is_file())
    assert stored <= 32 * 2**20
    parameters = load_encoder("nano").backbone.parameters()
    assert sum(p.numel() for p in parameters) <= 16_000_000


def test_late_head_is_a_folder_of_sentence_transformers():
    import torch
    from sentence_transformers import MultiVectorEncoder

    theirs = MultiVectorEncoder(str(NANO), device="cpu", model_kwargs={"dtype": torch.float32})
    ours = load_encoder("nano")
    for mine, expected in (
        (ours.encode_queries(TEXTS), theirs.encode_query(TEXTS, convert_to_numpy=True)),
        (ours.encode_documents(TEXTS), theirs.encode_document(TEXTS, convert_to_numpy=True)),
    ):
        assert mine.lengths.tolist() == [len(vectors) for vectors in expected]
        np.testing.assert_allclose(mine.values, np.concatenate(expected), atol=1e-5)


def test_dense_head_can_be_saved_for_sentence_transformers(tmp_path):
    from sentence_transformers import SentenceTransformer

    ours = load_encoder("nano", head="dense")
    ours.save(tmp_path)
    theirs = SentenceTransformer(str(tmp_path), device="cpu")
    np.testing.assert_allclose(
        ours.encode_queries(TEXTS).values, theirs.encode_query(TEXTS), atol=1e-5
    )
    np.testing.assert_allclose(
        ours.encode_documents(TEXTS).values, theirs.encode_document(TEXTS), atol=1e-5
    )


def test_no_text_is_unknown_to_the_tokenizer():
    encoder = load_encoder("nano")
    ids, _ = encoder.token_ids(["naïve 你好 🙂 \x07 x" + "y" * 5000], encoder.document)
    assert encoder.tokenizer.id_of("[UNK]") not in ids.values


@pytest.mark.parametrize("head", ["late", "dense"])
def test_it_finds_real_code(tmp_path, head):
    """Questions without the functions' own words, over the standard library's json and email."""
    sources = [Path(json.__file__).parent, Path(json.__file__).parent.parent / "email"]
    passages = [p for source in sources for p in read_source(source, [])]
    kind = "flat" if head == "late" else "faiss"
    index = Index.build(tmp_path / "index", passages, load_encoder("nano", head=head), engine=kind)
    hits = index.search("turn an object into a json string", k=10, mode="vector")
    assert any("dumps" in hit.passage.text or "JSONEncoder" in hit.passage.text for hit in hits)
    hits = index.search("split an e-mail address into name and address", k=10, mode="vector")
    assert any("parseaddr" in hit.passage.text or "AddressList" in hit.passage.text for hit in hits)


@pytest.mark.parametrize("kind", ["flat", "faiss"])
def test_build_and_query_as_a_user_does(tmp_path, kind):
    def run(module, *arguments):
        command = [sys.executable, "-m", f"mbert_retrieval.cli.{module}", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "net.py").write_text(
        "def fetch(url, attempts=5):\n    '''Retry a request.'''\n    return get(url, attempts)\n"
    )
    (tmp_path / "src" / "area.py").write_text("def circle(r):\n    return 3.14159 * r * r\n")
    built = run("index", "build", "src", "--index", "i", "--kind", kind, "--json")
    assert built.returncode == 0, built.stderr
    assert json.loads(built.stdout)["added"] == 2
    again = run("index", "build", "src", "--index", "i", "--json")
    assert json.loads(again.stdout)["unchanged"] == 2
    result = run(
        "search", "query", "surface of a disc", "--index", "i", "--mode", "vector", "--json"
    )
    assert result.returncode == 0, result.stderr
    hits = [json.loads(line) for line in result.stdout.splitlines()]
    assert hits[0]["path"] == "area.py"
    assert (hits[0]["start_line"], hits[0]["end_line"]) == (1, 2)


@pytest.mark.slow
@needs_data
@pytest.mark.parametrize("kind", ["flat", "faiss"])
def test_score_on_cosqa(kind):
    command = [
        sys.executable,
        "-m",
        "mbert_retrieval.cli.eval",
        "run",
        "--data",
        str(DATA / "cosqa"),
    ]
    command += ["--split", "dev", "--encoder", "nano", "--kind", kind, "--mode", "vector", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["measures"]["nDCG@10"] >= 0.35
