"""Small judged collections: a BEIR folder, and the benchmarks' data sets in the hub's layout.

A repository of the hub has a `README.md` that lists configs and splits, and jsonl or parquet files.
The layouts are copied from the hub's pages and the loaders of MTEB, CoIR and LongEmbed, not from
the suites under test.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

DOCUMENTS = {
    "d1": ("Wings", "lift of a swept wing at subsonic speed"),
    "d2": ("", "drag of a blunt body"),
    "d3": ("Heat", "heat transfer in a laminar boundary layer"),
    "q2": ("", "laminar heat transfer"),  # a document with a query's id
}
QUERIES = {"q1": "swept wing lift", "q2": "laminar heat transfer", "q9": "never judged"}
JUDGED = {("q1", "d1"): 2, ("q2", "d3"): 1}

FORUMS = ["english", "gaming", "gis", "mathematica", "physics", "programmers", "stats", "tex"]
FORUMS += ["unix", "webmasters", "wordpress"]
LANGUAGES = ["python", "javascript", "go", "ruby", "java", "php"]
NANO = ["ClimateFEVER", "DBPedia", "FEVER", "FiQA2018", "HotpotQA", "MSMARCO", "NFCorpus", "NQ"]
NANO += ["QuoraRetrieval", "SCIDOCS", "ArguAna", "SciFact", "Touche2020"]
BEIR = ["arguana", "climate-fever", "dbpedia", "fever", "fiqa", "hotpotqa", "msmarco", "nfcorpus"]
BEIR += [
    "nq",
    "quora",
    "scidocs",
    "scifact",
    "touche2020",
    "trec-covid",
    "CQADupstackAndroidRetrieval",
]
BEIR += [f"cqadupstack-{forum}" for forum in FORUMS]


BIRDS = ["heron", "crane", "stork", "egret", "ibis", "coot"]
BIRDS += ["rail", "teal", "smew", "scaup", "gull", "tern"]


def mbert_eval(*arguments, cwd=None):
    """Run the command in a process of its own."""
    command = [sys.executable, "-m", "mbert_retrieval.cli.eval", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, cwd=cwd
    )


def write_birds(folder: Path) -> Path:
    """Write a BEIR folder of twelve documents, each with one query that only it answers."""
    (folder / "qrels").mkdir(parents=True)
    documents = {f"d{i}": f"the {word} on the lake" for i, word in enumerate(BIRDS)}
    queries = {f"q{i}": word for i, word in enumerate(BIRDS)}
    for name, texts in {"corpus": documents, "queries": queries}.items():
        rows = [json.dumps({"_id": id, "text": text}) for id, text in texts.items()]
        (folder / f"{name}.jsonl").write_text("\n".join(rows))
    lines = [f"q{i}\td{i}\t1\n" for i in range(len(BIRDS))]
    (folder / "qrels" / "test.tsv").write_text("".join(lines))
    return folder


class Repository:
    """A folder in the layout of a data set repository of the hub."""

    def __init__(self, root: Path, name: str, suffix: str) -> None:
        self.folder = root / name
        self.folder.mkdir(parents=True)
        self.suffix = suffix
        self.configs: dict[str, list[tuple[str, str]]] = {}

    def add(self, config: str, split: str, rows: list[dict]) -> None:
        path = self.folder / config / f"{split}.{self.suffix}"
        path.parent.mkdir(exist_ok=True)
        if self.suffix == "parquet":
            import pyarrow
            import pyarrow.parquet

            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        name = path.relative_to(self.folder).as_posix()
        self.configs.setdefault(config, []).append((split, name))
        lines = ["---", "configs:"]
        for each, files in self.configs.items():
            lines += [f"- config_name: {each}", "  data_files:"]
            for named, file in files:
                lines += [f"  - split: {named}", f"    path: {file}"]
        (self.folder / "README.md").write_text("\n".join([*lines, "---", ""]))


def documents(key: str = "_id", title: bool = True, **more) -> list[dict]:
    return [
        {key: id, **({"title": name} if title else {}), "text": text, **more}
        for id, (name, text) in DOCUMENTS.items()
    ]


def queries(key: str = "_id", **more) -> list[dict]:
    return [{key: id, "text": text, **more} for id, text in QUERIES.items()]


def judgements(grade: type = int, query: str = "query-id", document: str = "corpus-id") -> list:
    return [{query: q, document: d, "score": grade(g)} for (q, d), g in JUDGED.items()]


def ungraded(query: str, document: str, **more) -> list[dict]:
    return [{query: q, document: d, **more} for q, d in JUDGED]


def make_hub(root: Path) -> Path:
    """Write all repositories that the suites read under `root`, and return it."""
    for name in BEIR:  # mteb/*: jsonl, configs default, corpus, queries; grades are floats
        repository = Repository(root, f"mteb/{name}", "jsonl")
        repository.add("default", "dev" if name == "msmarco" else "test", judgements(float))
        repository.add("default", "train", [judgements(float)[0]])
        repository.add("corpus", "corpus", documents())
        repository.add("queries", "queries", queries())
    nano = Repository(root, "sentence-transformers/NanoBEIR-en", "parquet")
    for name in NANO:  # a split each, no grades, the title is in the text
        nano.add("corpus", f"Nano{name}", documents(title=False))
        nano.add("queries", f"Nano{name}", queries())
        nano.add("qrels", f"Nano{name}", ungraded("query-id", "corpus-id"))
    mldr = Repository(root, "mteb/MultiLongDocRetrieval", "parquet")
    for split in ("dev", "test"):  # a config a language and table, ids in "id"
        mldr.add("en-corpus", split, documents("id"))
        mldr.add("en-queries", split, queries("id"))
        mldr.add("en-qrels", split, judgements())
    for name in ("CodeSearchNet", "CodeSearchNet-ccr"):  # all partitions of queries in one split
        coir = Repository(root, f"CoIR-Retrieval/{name}", "parquet")
        for language in LANGUAGES:
            more = {"partition": "test", "language": language, "meta_information": {"x": "y"}}
            coir.add(f"{language}-corpus", "corpus", documents(**more))
            coir.add(f"{language}-queries", "queries", queries(title="", **more))
            for split in ("train", "valid", "test"):
                coir.add(f"{language}-qrels", split, judgements())
    original = Repository(root, "mteb/CodeSearchNetRetrieval", "parquet")
    for language in LANGUAGES:
        original.add(f"{language}-corpus", "test", documents("id"))
        original.add(f"{language}-queries", "test", queries("id"))
        original.add(f"{language}-qrels", "test", judgements())
    stack = Repository(root, "mteb/StackOverflowQA", "parquet")
    stack.add("default", "test", judgements())
    stack.add("corpus", "test", documents("id"))
    stack.add("queries", "test", queries("id"))
    cosqa = Repository(root, "CoIR-Retrieval/cosqa", "parquet")
    for split in ("train", "valid", "test"):
        cosqa.add("default", split, judgements())
    more = {"partition": "test", "language": "python", "meta_information": {"x": "y"}}
    cosqa.add("corpus", "corpus", documents(**more))
    cosqa.add("queries", "queries", queries(title="", **more))
    long = Repository(root, "dwzhu/LongEmbed", "jsonl")
    for config in ("narrativeqa", "qmsum", "2wikimqa", "summ_screen_fd"):
        long.add(config, "corpus", documents("doc_id", title=False))
        long.add(config, "queries", queries("qid"))
        long.add(config, "qrels", ungraded("qid", "doc_id"))
    for config in ("needle", "passkey"):  # all lengths in one table
        sizes = [256 * 2**i for i in range(8)]
        tables = {
            "corpus": lambda n: documents("doc_id", title=False, context_length=n),
            "queries": lambda n: queries("qid", context_length=n),
            "qrels": lambda n: ungraded("qid", "doc_id", context_length=n),
        }
        for table, rows in tables.items():
            all_rows = [
                {
                    key: f"{value}-{n}" if key in ("doc_id", "qid") else value
                    for key, value in row.items()
                }
                for n in sizes
                for row in rows(n)
            ]
            long.add(config, table, all_rows)
    return root
