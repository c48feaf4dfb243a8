"""Our encoders inside the real `mteb` and `beir`, on a small local task."""

from __future__ import annotations

import json

import pytest

from mbert_retrieval import InputError, load_encoder
from mbert_retrieval.eval.adapters import BeirModel, MtebEncoder, MtebSearch, for_mteb
from mbert_retrieval.eval.datasets import read_beir
from mbert_retrieval.eval.measures import parse_measures
from mbert_retrieval.eval.runner import prepare

TOPICS = {
    "wing": "lift and drag of a swept wing at high speed",
    "json": "parse a json file and return a dictionary",
    "sort": "sort a list of numbers in place",
    "http": "send an http request and retry when the connection is closed",
    "heat": "heat transfer in a laminar boundary layer",
    "date": "parse a date string in iso format",
}
QUERIES = {
    "wing": "how much lift does a wing have",
    "q-json": "read json",
    "q-sort": "python sort numbers",
    "q-date": "iso date",
}
# graded, and one query whose own id is a document's
QRELS = {"wing": {"heat": 1}, "q-json": {"json": 2, "date": 1}, "q-sort": {"sort": 1}}
QRELS["q-date"] = {"date": 1}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("local")
    (folder / "qrels").mkdir()
    for name, texts in {"corpus": TOPICS, "queries": QUERIES}.items():
        rows = [json.dumps({"_id": id, "title": "", "text": text}) for id, text in texts.items()]
        (folder / f"{name}.jsonl").write_text("\n".join(rows) + "\n")
    lines = [f"{q}\t{d}\t{g}\n" for q, judged in QRELS.items() for d, g in judged.items()]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    return read_beir(folder)


@pytest.fixture(scope="module")
def dense():
    return load_encoder("nano", "dense")


@pytest.fixture(scope="module")
def late():
    return load_encoder("nano", "late")


def harness(dataset, encoder, measures, drop_own_id=False):
    with prepare(dataset, encoder, engine="flat") as system:
        result, _ = system.evaluate("vector", parse_measures(measures), drop_own_id=drop_own_id)
    return result.measures


def test_beirs_exact_search_agrees_with_the_harness(dataset, dense):
    pytest.importorskip("beir")
    from beir.datasets.data_loader import GenericDataLoader
    from beir.retrieval.evaluation import EvaluateRetrieval
    from beir.retrieval.search.dense import DenseRetrievalExactSearch

    corpus, queries, qrels = GenericDataLoader(str(dataset.folder)).load(split="test")
    search = DenseRetrievalExactSearch(BeirModel(dense), batch_size=2, corpus_chunk_size=4)
    retriever = EvaluateRetrieval(search, k_values=[3, 5], score_function="dot")
    results = retriever.retrieve(corpus, queries)
    ndcg, average, recall, _ = retriever.evaluate(qrels, results, [3, 5])
    ours = harness(dataset, dense, "nDCG@3 AP@5 R@5", drop_own_id=True)
    assert ours["nDCG@3"] == pytest.approx(ndcg["NDCG@3"], abs=1e-5)
    assert ours["AP@5"] == pytest.approx(average["MAP@5"], abs=1e-5)
    assert ours["R@5"] == pytest.approx(recall["Recall@5"], abs=1e-5)
    assert ours != harness(dataset, dense, "nDCG@3 AP@5 R@5")  # the own id was there to drop


def local_task(dataset):
    """The collection as a task of MTEB."""
    from datasets import Dataset
    from mteb.abstasks.retrieval import AbsTaskRetrieval
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
    from mteb.abstasks.task_metadata import TaskMetadata

    class LocalRetrieval(AbsTaskRetrieval):
        metadata = TaskMetadata(
            name="LocalRetrieval",
            description="Made for a test.",
            reference=None,
            dataset={"path": "local/local", "revision": "1"},
            type="Retrieval",
            category="t2t",
            modalities=["text"],
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="ndcg_at_10",
            date=("2020-01-01", "2020-01-01"),
            domains=["Written"],
            task_subtypes=[],
            license="mit",
            annotations_creators="derived",
            dialect=[],
            sample_creation="created",
            bibtex_citation="",
        )

        def load_data(self, **ignored):
            rows = [{"id": p.id, "title": p.title, "text": p.text} for p in dataset.passages()]
            queries = [{"id": id, "text": text} for id, text in dataset.queries.items()]
            self.dataset = {
                "default": {
                    "test": RetrievalSplitData(
                        corpus=Dataset.from_list(rows),
                        queries=Dataset.from_list(queries),
                        relevant_docs=dataset.qrels,
                        top_ranked=None,
                    )
                }
            }
            self.data_loaded = True

    return LocalRetrieval()


@pytest.mark.parametrize("head", ["dense", "late"])
def test_mteb_agrees_with_the_harness(dataset, head, request):
    mteb = pytest.importorskip("mteb")
    encoder = request.getfixturevalue(head)
    model = for_mteb(encoder)
    assert isinstance(model, MtebEncoder if head == "dense" else MtebSearch)
    done = mteb.evaluate(model, local_task(dataset), cache=None, show_progress_bar=False)
    assert done.model_name == "mbert-retrieval/nano"
    assert done.model_revision == encoder.fingerprint[:12]
    (scores,) = done.task_results[0].scores["test"]
    ours = harness(dataset, encoder, "nDCG@10 nDCG@3 AP@5 R@5")
    theirs = {
        "nDCG@10": "ndcg_at_10",
        "nDCG@3": "ndcg_at_3",
        "AP@5": "map_at_5",
        "R@5": "recall_at_5",
    }
    for measure, name in theirs.items():
        assert ours[measure] == pytest.approx(scores[name], abs=1e-4)


def test_mteb_reranks_what_it_names(dataset, late):
    from datasets import Dataset

    model = MtebSearch(late)
    queries = Dataset.from_list([{"id": "q-sort", "text": QUERIES["q-sort"]}])
    with pytest.raises(InputError, match="call index first"):
        model.search(queries, top_k=3)
    model.index(Dataset.from_list([{"id": id, "text": text} for id, text in TOPICS.items()]))
    everything = model.search(queries, top_k=10)["q-sort"]
    assert set(everything) == set(TOPICS)
    some = model.search(queries, top_k=2, top_ranked={"q-sort": ["wing", "json", "heat"]})["q-sort"]
    best = sorted(("wing", "json", "heat"), key=everything.__getitem__, reverse=True)[:2]
    assert some == {id: everything[id] for id in best}


def test_mteb_encodes_queries_and_documents_differently(dense):
    batches = [{"text": ["read json"]}, {"text": ["sort a list"]}]
    model = MtebEncoder(dense)
    queries = model.encode(batches, prompt_type="query")
    documents = model.encode(batches, prompt_type="document")
    texts = ["read json", "sort a list"]
    assert queries == pytest.approx(dense.encode_queries(texts).values)
    assert documents == pytest.approx(dense.encode_documents(texts).values)
    assert model.similarity(queries, documents).shape == (2, 2)
    expected = (queries * documents).sum(1)
    assert model.similarity_pairwise(queries, documents).numpy() == pytest.approx(expected)


def test_the_name_of_an_encoder_is_refused():
    for adapter in (BeirModel, MtebEncoder, for_mteb):
        with pytest.raises(TypeError, match="'nano' is not an encoder: load one"):
            adapter("nano")


def test_late_interaction_is_refused_where_it_does_not_fit(late):
    for adapter in (BeirModel, MtebEncoder):
        with pytest.raises(InputError, match="late-interaction"):
            adapter(late)
