"""`mbert-eval` as users run it: a process, its streams and its exit codes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import pytrec_eval

from mbert_retrieval.eval.datasets import read_beir
from mbert_retrieval.eval.runs import read_run, write_run
from support.collections import DATA, needs_data

# runs the command with every heavy library made impossible to import
LIGHT = """
import sys
for name in ("torch", "faiss", "sentence_transformers", "transformers", "tokenizers"):
    sys.modules[name] = None
from mbert_retrieval.cli.eval import main
sys.argv[0] = "mbert-eval"
main()
"""

WHOLE = "import sys; from mbert_retrieval.cli.eval import main; main()"


def mbert_eval(*arguments, script=LIGHT):
    """The command in a process of its own, as a pipe sees it."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def beir(tmp_path):
    """Four documents, three judged queries; "zeppelin" is nowhere."""
    folder = tmp_path / "tiny"
    (folder / "qrels").mkdir(parents=True)
    documents = {
        "d1": "lift of a swept wing",
        "d2": "drag of a blunt body",
        "d3": "heat transfer in a laminar boundary layer",
        "d4": "",
    }
    queries = {"q1": "swept wing lift", "q2": "laminar heat transfer", "q3": "zeppelin"}
    for name, rows in {"corpus": documents, "queries": queries}.items():
        lines = [json.dumps({"_id": key, "title": "", "text": rows[key]}) for key in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "qrels" / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td3\t2\nq3\td2\t1\n"
    )
    return folder


def test_json_record_and_files(beir, tmp_path):
    output, run_file = tmp_path / "out" / "result.json", tmp_path / "out" / "run.trec"
    done = mbert_eval(
        "run",
        "--data",
        beir,
        "--encoder",
        "none",
        "--measures",
        "nDCG@10 R@100 RR@10",
        "--json",
        "--output",
        output,
        "--run-file",
        run_file,
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    record = json.loads(line)
    # two of three queries have their document first, the third finds nothing and counts as zero
    assert record["measures"] == pytest.approx({"nDCG@10": 2 / 3, "R@100": 2 / 3, "RR@10": 2 / 3})
    assert record["system"] == "BM25"
    assert record["encoder"] is None
    assert record["dataset"]["queries"] == 3
    assert record["search"]["queries_without_results"] == 1
    full = json.loads(output.read_text())
    assert full.pop("per_query")["R@100"] == {"q1": 1.0, "q2": 1.0, "q3": 0.0}
    assert full == record
    assert "1 of 3 queries have no results" in done.stderr

    again = mbert_eval("score", "--data", beir, "--split", "test", run_file, "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["measures"] == pytest.approx(
        {name: record["measures"][name] for name in ("nDCG@10", "R@100")}
    )

    table = mbert_eval("report", output.parent)
    assert table.stdout == (
        "| system | tiny test nDCG@10 | tiny test R@100 |\n"
        "| ------ | ----------------: | --------------: |\n"
        "| BM25   |             0.667 |           0.667 |\n"
    )
    assert mbert_eval("report", output.parent, "--json").stdout == done.stdout


def test_own_ids_are_dropped_from_a_run_file_with_the_option_only(beir, tmp_path):
    (beir / "qrels" / "test.tsv").write_text("q1\td1\t1\nq2\td3\t1\n")
    with (beir / "corpus.jsonl").open("a") as corpus:
        corpus.write('{"_id": "q1", "text": "swept wing lift"}\n')
    run_file = tmp_path / "run.trec"
    write_run(run_file, {"q1": {"q1": 2.0, "d1": 1.0}, "q2": {"d3": 1.0, "q1": 0.5}}, "x")
    score = ("score", run_file, "--data", beir, "--measures", "RR", "--json")
    records = [json.loads(mbert_eval(*score, *more).stdout) for more in ((), ("--drop-own-id",))]
    assert [record["measures"]["RR"] for record in records] == [0.75, 1.0]


def test_table_for_people_without_colour_in_a_pipe(beir):
    done = mbert_eval("run", "--data", beir, "--encoder", "none", "--system", "ours")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "| ours   |             0.667 |           0.667 |"


def test_kept_index_is_used_again(beir, tmp_path):
    run = ("run", "--data", beir, "--encoder", "none", "--json", "--cache", tmp_path / "cache")
    first, second = (json.loads(mbert_eval(*run).stdout) for _ in range(2))
    assert (first["index"]["reused"], second["index"]["reused"]) == (0, 4)
    assert first["measures"] == second["measures"]
    with (beir / "corpus.jsonl").open("a") as corpus:
        corpus.write('{"_id": "d5", "text": "a zeppelin"}\n')
    third = json.loads(mbert_eval(*run).stdout)
    assert third["index"]["reused"] == 0
    assert third["search"]["queries_without_results"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--encoder", "none", "--split", "train"], "no split 'train': choose one of test"),
        (["run", "--encoder", "none", "--measures", "nGDC@10"], "unknown measure 'nGDC@10'"),
        (["run", "--encoder", "none", "-k", "10"], "R@100 looks at 100 results"),
        (["run", "--encoder", "none", "--mode", "hybrid"], "mode hybrid needs an encoder"),
        (["run", "--encoder", "none", "--kind", "flat"], "needs an encoder"),
        (["run", "--encoder", "none", "--output", "."], "is a folder"),
        (["run", "--encoder", "st:nowhere"], "not a sentence-transformers folder"),
        (["run", "--encoder", "none", "--mode", "fuzzy"], "fuzzy"),
        (["score", "nowhere.trec"], "cannot read nowhere.trec"),
    ],
)
def test_bad_requests_exit_2_with_one_plain_message(beir, arguments, message):
    command, *rest = arguments
    done = mbert_eval(command, "--data", beir, *rest)
    assert done.returncode == 2
    assert done.stdout == ""
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_missing_extra_is_named(beir, tmp_path):
    without = LIGHT.replace('"torch"', '"ir_measures", "torch"')
    done = mbert_eval("run", "--data", beir, "--encoder", "none", script=without)
    assert done.returncode == 2
    assert "pip install 'mbert-retrieval[eval]'" in done.stderr
    (tmp_path / "modules.json").write_text("[]")
    done = mbert_eval("run", "--data", beir, "--encoder", f"st:{tmp_path}")
    assert done.returncode == 2
    assert "needs sentence-transformers: pip install" in done.stderr


def test_faults_of_the_data_exit_2_naming_the_line(beir):
    (beir / "qrels" / "test.tsv").write_text("q1\td1\t1\nq1\td9\t1\n")
    done = mbert_eval("run", "--data", beir, "--encoder", "none")
    assert done.returncode == 2
    assert f"{beir / 'qrels' / 'test.tsv'}:2: document 'd9' is not in corpus.jsonl" in done.stderr


@needs_data
@pytest.mark.parametrize(
    ("name", "ndcg", "recall"), [("cosqa", 0.286, 0.726), ("cranfield", 0.316, 0.683)]
)
def test_bm25_is_not_below_its_reference(tmp_path, name, ndcg, recall):
    """References: bm25s with k1 0.9, b 0.4 (shared/data/README.md). Ours splits identifiers and
    stems, so it must not be worse."""
    run_file = tmp_path / "run.trec"
    done = mbert_eval(
        "run", "--data", DATA / name, "--encoder", "none", "--json", "--run-file", run_file
    )
    assert done.returncode == 0, done.stderr
    measures = json.loads(done.stdout)["measures"]
    assert measures["nDCG@10"] > ndcg
    assert measures["R@100"] > recall
    # the same rankings, measured by pytrec_eval itself
    qrels = read_beir(DATA / name).qrels
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, {"ndcg_cut.10", "recall.100"})
    values = evaluator.evaluate(read_run(run_file))
    for trec_name, measure in {"ndcg_cut_10": "nDCG@10", "recall_100": "R@100"}.items():
        total = sum(query[trec_name] for query in values.values())
        assert measures[measure] == pytest.approx(total / len(qrels), abs=1e-9)


@needs_data
@pytest.mark.parametrize(
    ("name", "ndcg", "recall"), [("cosqa", 0.286, 0.726), ("cranfield", 0.316, 0.683)]
)
def test_a_run_of_bm25s_has_its_reference_scores(tmp_path, name, ndcg, recall):
    """The BM25 rows of shared/data/README.md, from a run file that bm25s itself made."""
    bm25s = pytest.importorskip("bm25s")
    dataset = read_beir(DATA / name)
    passages = list(dataset.passages())

    def tokens(texts):
        return bm25s.tokenize(texts, stopwords="en", show_progress=False)

    index = bm25s.BM25(k1=0.9, b=0.4)
    index.index(tokens([passage.content for passage in passages]), show_progress=False)
    positions, scores = index.retrieve(
        tokens(list(dataset.queries.values())), k=100, show_progress=False
    )
    run = {
        query: {passages[i].id: float(s) for i, s in zip(*ranking, strict=True) if s > 0}
        for query, *ranking in zip(dataset.queries, positions, scores, strict=True)
    }
    write_run(tmp_path / "bm25s.trec", run, "bm25s")
    done = mbert_eval("score", tmp_path / "bm25s.trec", "--data", DATA / name, "--json")
    assert json.loads(done.stdout)["measures"] == pytest.approx(
        {"nDCG@10": ndcg, "R@100": recall}, abs=0.005
    )


def test_an_index_that_is_there_is_searched(beir, tmp_path):
    build = [sys.executable, "-m", "mbert_retrieval.cli.index", "build", beir]
    index = tmp_path / "my.index"
    subprocess.run([*build, "--index", index, "--kind", "flat"], check=True, capture_output=True)
    run = ("run", "--data", beir, "--index", index, "--measures", "nDCG@10", "--json")
    lexical = json.loads(mbert_eval(*run, "--mode", "lexical").stdout)
    assert lexical["measures"]["nDCG@10"] == pytest.approx(2 / 3)
    assert lexical["index"]["kind"] == "flat"
    hybrid = json.loads(mbert_eval(*run, "--mode", "hybrid", script=WHOLE).stdout)
    assert hybrid["system"] == "nano late (flat) + BM25"
    assert hybrid["index"]["vectors"] > 3
    with (beir / "corpus.jsonl").open("a") as corpus:
        corpus.write('{"_id": "d5", "text": "a zeppelin"}\n')
    other = mbert_eval(*run)
    assert other.returncode == 2
    assert "does not contain the documents of tiny: 1 are missing, 0 are others" in other.stderr
