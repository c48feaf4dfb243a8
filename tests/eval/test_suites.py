"""Suites: small data sets read through the `datasets` library, run, resumed, reported."""

from __future__ import annotations

import json
import shutil
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from mbert_retrieval import InputError
from mbert_retrieval.eval import locate
from mbert_retrieval.eval.locate import find_folder, load_dataset
from mbert_retrieval.eval.suites import MEAN, SUITES, find_suite
from support.eval_hub import DOCUMENTS, JUDGED, QUERIES, make_hub, mbert_eval


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    return make_hub(tmp_path_factory.mktemp("hub"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("name", [name for name in SUITES if name != "glue"])
def test_every_data_set_is_read_from_the_hubs_layout(hub, cache, name):
    suite = SUITES[name]
    graded = name not in ("nanobeir", "longembed")
    titled = name not in ("nanobeir", "longembed", "codesearchnet", "codesearchnet-ccr", "cosqa")
    for task in suite.tasks:
        dataset = load_dataset(task, cache, hub)
        suffix = f"-{task.data.where['context_length']}" if task.data.where else ""
        expected: dict[str, dict[str, int]] = {}
        for (query, document), grade in JUDGED.items():
            expected.setdefault(query + suffix, {})[document + suffix] = grade if graded else 1
        assert dataset.qrels == expected
        assert dataset.queries == {
            query: QUERIES[query.removesuffix(suffix) if suffix else query] for query in expected
        }
        assert {p.id: p.content for p in dataset.passages()} == {
            id + suffix: f"{title if titled else ''} {text}".strip()
            for id, (title, text) in DOCUMENTS.items()
        }
        assert dataset.name == task.name
        assert dataset.split == task.split


def test_published_averages_are_those_of_their_cells():
    for published in find_suite("beir").published:
        values = [value for column, value in published.scores.items() if column != MEAN]
        if len(values) == 15:
            assert sum(values) / 15 == pytest.approx(published.scores[MEAN], abs=0.0006)
    assert len(find_suite("beir").tasks) == 14 + 12
    assert len(find_suite("beir").columns) == 15
    assert sum(len(p.scores) for s in SUITES.values() for p in s.published) == 192


def test_fetched_data_is_used_again_and_a_change_is_noticed(hub, tmp_path):
    task = find_suite("beir").select("scifact")[0]
    folder = find_folder(task, tmp_path, hub)
    before = (folder / "corpus.jsonl").stat().st_mtime_ns
    assert find_folder(task, tmp_path, hub) == folder
    assert (folder / "corpus.jsonl").stat().st_mtime_ns == before
    with (folder / "queries.jsonl").open("a") as file:
        file.write("\n")
    with pytest.raises(InputError, match=r"queries\.jsonl has changed since it was fetched"):
        find_folder(task, tmp_path, hub)


def test_a_changed_copy_of_the_hub_is_read_anew(hub, tmp_path):
    copy = tmp_path / "root"
    shutil.copytree(hub / "mteb" / "scifact", copy / "mteb" / "scifact")
    task = find_suite("beir").select("scifact")[0]
    first = load_dataset(task, tmp_path / "cache", copy)
    path = copy / "mteb" / "scifact" / "queries" / "queries.jsonl"
    path.write_text(path.read_text().replace("swept", "straight"))
    second = load_dataset(task, tmp_path / "cache", copy)
    assert second.queries["q1"] == "straight wing lift"
    assert first.checksums != second.checksums


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "corpus/corpus.jsonl",
            '"text"',
            '"body"',
            r"\(corpus\), row 0: \"text\" must be a string",
        ),
        ("queries/queries.jsonl", '"_id"', '"key"', r"\(queries\), row 0: none of the columns _id"),
        ("default/test.jsonl", "2.0", "1.5", r"\(default\), row 0: the grade 1.5 is not a whole"),
        ("default/test.jsonl", '"d1"', '"d7"', r"test\.tsv:2: document 'd7' is not in corpus"),
        ("queries/queries.jsonl", "swept wing lift", " ", r"queries\.jsonl:1: .*'q1'.*no text"),
    ],
)
def test_broken_data_of_a_hub_is_named(hub, tmp_path, file, old, new, message):
    copy = tmp_path / "root"
    shutil.copytree(hub / "mteb" / "scifact", copy / "mteb" / "scifact")
    path = copy / "mteb" / "scifact" / file
    path.write_text(path.read_text().replace(old, new))
    task = find_suite("beir").select("scifact")[0]
    with pytest.raises(InputError, match=message):
        load_dataset(task, tmp_path / "cache", copy)
    assert not list((tmp_path / "cache" / "data").glob(".*"))


def test_a_beir_folder_stands_before_a_copy_of_the_hub(hub, tmp_path):
    suite = find_suite("beir")
    task = suite.select("cqadupstack-tex")[0]
    folder = find_folder(task, tmp_path / "cache", hub)
    for name in ("cqadupstack-tex", "cqadupstack/tex"):  # ours, and the folder in BEIR's zip
        root = tmp_path / f"with {name.replace('/', ' ')}"
        shutil.copytree(folder, root / name)
        assert find_folder(task, tmp_path / "cache", root) == root / name
    with pytest.raises(InputError, match=r"has no scifact: neither .*scifact/corpus\.jsonl nor"):
        find_folder(suite.select("scifact")[0], tmp_path / "cache", tmp_path)


def test_beirs_own_zip_by_its_package(hub, tmp_path, monkeypatch):
    """A zip served on this machine, where the hub gives nothing."""
    pytest.importorskip("beir")
    task = find_suite("beir").select("cqadupstack-tex")[0]
    forum = tmp_path / "served" / "cqadupstack" / "tex"
    shutil.copytree(find_folder(task, tmp_path / "other", hub), forum)
    (forum / "source.json").unlink()
    shutil.make_archive(str(forum.parent), "zip", tmp_path / "served", "cqadupstack")
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path / "served")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(locate, "BEIR_ZIPS", f"http://127.0.0.1:{server.server_port}")
        dataset = load_dataset(task, tmp_path / "cache")
        server.shutdown()
    assert dataset.qrels == {"q1": {"d1": 2}, "q2": {"d3": 1}}
    assert load_dataset(task, tmp_path / "cache").checksums == dataset.checksums  # cached
    with pytest.raises(InputError, match="--data-root"):
        load_dataset(find_suite("beir").select("scifact")[0], tmp_path / "cache")


def test_suite_is_resumed_where_it_stopped(hub, tmp_path):
    root = tmp_path / "root"
    for name in ("nfcorpus", "scifact"):
        shutil.copytree(hub / "mteb" / name, root / "mteb" / name)
    broken = root / "mteb" / "scifact" / "default" / "test.jsonl"
    good = broken.read_text()
    broken.write_text(good.replace("2.0", "2.5"))
    run = ("run", "beir", "--datasets", "nfcorpus,scifact", "--encoder", "bm25", "--json")
    run += ("--data-root", root, "--cache", tmp_path / "cache", "--results", tmp_path / "results")
    first = mbert_eval(*run)
    assert first.returncode == 2
    assert "scifact not run: " in first.stderr
    assert "1 of 2 data sets were not run (scifact)" in first.stderr
    (record,) = map(json.loads, first.stdout.splitlines())
    assert record["measures"]["nDCG@10"] == 1.0  # q2's own document would stand first
    assert record["search"]["drop_own_id"] is True
    cell = tmp_path / "results" / "beir-nfcorpus-test-bm25.json"
    written = cell.stat().st_mtime_ns

    broken.write_text(good)
    second = mbert_eval(*run)
    assert second.returncode == 0, second.stderr
    assert [json.loads(line)["dataset"]["name"] for line in second.stdout.splitlines()] == [
        "nfcorpus",
        "scifact",
    ]
    assert "nfcorpus: nDCG@10 1.0000 (run before)" in second.stderr
    assert cell.stat().st_mtime_ns == written
    assert mbert_eval(*run, "-k", "200").returncode == 0  # another request: measured anew
    assert cell.stat().st_mtime_ns != written

    table = mbert_eval("report", tmp_path / "results", "--suite", "beir").stdout
    (published,) = (line for line in table.splitlines() if line.startswith("| BM25 (published)"))
    (ours,) = (line for line in table.splitlines() if line.startswith("| BM25  "))
    assert published.split()[4:8] == ["32.2", "|", "67.9", "|"]
    assert ours.split()[3:11] == ["100.0", "|", "100.0", "|", "-", "|", "-", "|"]
    assert "126 published cells: 2 measured here, 124 not run." in table
    assert "192 published cells, 2 measured here, 190 not run." in table


def test_a_suite_by_any_encoder_reproduces_a_published_row(hub, tmp_path, tiny_encoder_folder):
    run = ("run", "cosqa", "--encoder", tiny_encoder_folder, "--kind", "flat", "--json")
    folders = ("--data-root", hub, "--cache", tmp_path / "cache", "--results", tmp_path / "results")
    done = mbert_eval(*run, *folders, "--run-file", tmp_path / "runs")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["encoder"]["kind"] == "late"
    assert record["index"]["vectors"] > 4
    assert record["search"]["latency_ms"]["queries"] == 2
    assert "coir-cosqa has 4 documents here and 20,604 in the benchmark" in done.stderr
    assert record["dataset"]["source"]["repository"] == str(hub / "CoIR-Retrieval" / "cosqa")
    (run_file,) = (tmp_path / "runs").iterdir()
    scored = mbert_eval("score", run_file, "--suite", "cosqa", "--json", *folders[:4])
    assert json.loads(scored.stdout)["measures"] == pytest.approx(record["measures"])
    unknown = mbert_eval(*run, *folders, "--published", "DPR ModernBERT-huge")
    assert unknown.returncode == 2
    assert "has no published row 'DPR ModernBERT-huge'" in unknown.stderr


def test_lengths_follow_the_protocol(hub, tmp_path, tiny_encoder_folder):
    """Documents 510 tokens but never more than the network has positions; queries by data set."""
    run = ("run", "beir", "--datasets", "scifact,fiqa", "--encoder", tiny_encoder_folder, "--json")
    folders = ("--data-root", hub, "--cache", tmp_path / "cache", "--results", tmp_path / "results")
    done = mbert_eval(*run, *folders)
    assert done.returncode == 0, done.stderr
    lengths = {
        record["dataset"]["name"]: (
            record["encoder"]["query_length"],
            record["encoder"]["document_length"],
        )
        for record in map(json.loads, done.stdout.splitlines())
    }
    assert lengths == {"scifact": (48, 510), "fiqa": (32, 510)}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "bier"], "no suite 'bier': choose from beir, nanobeir"),
        (["run", "beir", "--datasets", "sciface"], "has no data set 'sciface': choose from"),
        (["run"], "name a suite"),
        (["run", "beir", "--data", "."], "name a suite or --data, not both"),
        (
            ["run", "--datasets", "scifact", "--data", "."],
            "--datasets selects data sets of a suite",
        ),
        (["run", "beir", "--split", "dev"], "with --data only"),
        (["run", "glue"], "glue is no retrieval benchmark: run it with mbert-eval glue"),
        (["list", "bier"], "no suite 'bier'"),
    ],
)
def test_bad_requests(arguments, message, tmp_path):
    done = mbert_eval(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert not list(tmp_path.iterdir())


def test_without_a_hub_the_error_says_what_to_do(tmp_path):
    done = mbert_eval(
        "run", "cosqa", "--encoder", "bm25", "--cache", tmp_path / "cache", cwd=tmp_path
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "--data-root" in done.stderr
    assert "CoIR-Retrieval/cosqa" in done.stderr


def test_list_says_it_all():
    names = [line.split()[0] for line in mbert_eval("list").stdout.splitlines()]
    assert names == list(SUITES)
    records = map(json.loads, mbert_eval("list", "--json").stdout.splitlines())
    beir = next(record for record in records if record["name"] == "beir")
    assert {task["column"] for task in beir["tasks"]} >= {"scifact", "cqadupstack"}
    text = mbert_eval("list", "stackqa").stdout
    assert "ModernBERT-large: stackoverflow-qa 83.9" in text
    assert "arXiv 2412.13663" in text
