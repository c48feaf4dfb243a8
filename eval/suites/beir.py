"""BEIR (Thakur et al. 2021, arXiv 2104.08663): zero-shot retrieval on 15 public collections."""

from __future__ import annotations

from . import modernbert_paper
from .spec import MEAN, Published, Suite, Task, mteb_data, percent

# name, repository, revision, split, documents, judged queries, query tokens (GTE-ModernColBERT's
# published settings: 64 for ArguAna and Climate-FEVER, 48 for SciFact, TREC-COVID, SciDocs)
_TASKS = """
nfcorpus      mteb/nfcorpus      ec0fa4fe99da2ff19ca1214b7966684033a58814 test    3633   323 32
scifact       mteb/scifact       d56462d0e63a25450459c4f213e49ffdb866f7f9 test    5183   300 48
trec-covid    mteb/trec-covid    bb9466bac8153a0349341eb1b22e06409e78ef4e test  171332    50 48
fiqa          mteb/fiqa          27a168819829fe9bcd655c2df245fb19452e8e06 test   57638   648 32
arguana       mteb/arguana       c22ab2a51041ffd869aaddef7af8d8215647e41a test    8674  1406 64
climate-fever mteb/climate-fever 47f2ac6acb640fc46020b02a5b59fdda04d39380 test 5416593  1535 64
dbpedia       mteb/dbpedia       c0f706b76e590d620bd6618b3ca8efdd34e2d659 test 4635922   400 32
fever         mteb/fever         bea83ef9e8fb933d90a2f1d5515737465d613e12 test 5416568  6666 32
hotpotqa      mteb/hotpotqa      ab518f4d6fcca38d87c25209f94beba119d02014 test 5233329  7405 32
msmarco       mteb/msmarco       c5a29a104738b98a9e76336939199e264163d4a0 dev  8841823  6980 32
nq            mteb/nq            b774495ed302d8c44a3a7ea25c90dbce03968f31 test 2681468  3452 32
quora         mteb/quora         e4e08e0b7dbe3c8700f0daef558ff32256715259 test  522931 10000 32
scidocs       mteb/scidocs       f8c2fcf00f625baaa80f62ec5bd9e1fff3b8ae88 test   25657  1000 48
touche2020    mteb/touche2020    a34f9a33db75fa0cbb21bb5cfc3dae8dc8bec93f test  382545    49 32
"""
# forum, repository, revision, documents, judged queries
_FORUMS = """
android      mteb/CQADupstackAndroidRetrieval 9be4c0e46342e8e3aff577a89b9a1ec9bc6b4af3 22998  699
english      mteb/cqadupstack-english         ad9991cb51e31e31e430383c75ffb2885547b5f0 40221 1570
gaming       mteb/cqadupstack-gaming          4885aa143210c98657558c04aaf3dc47cfb54340 45301 1595
gis          mteb/cqadupstack-gis             5003b3064772da1887988e05400cf3806fe491f2 37637  885
mathematica  mteb/cqadupstack-mathematica     90fceea13679c63fe563ded68f3b6f06e50061de 16705  804
physics      mteb/cqadupstack-physics         79531abbd1fb92d06c6d6315a0cbbbf5bb247ea4 38316 1039
programmers  mteb/cqadupstack-programmers     6184bc1440d2dbc7612be22b50686b8826d22b32 32176  876
stats        mteb/cqadupstack-stats           65ac3a16b8e91f9cee4c9828cc7c335575432a2a 42269  652
tex          mteb/cqadupstack-tex             46989137a86843e03a6195de44b09deda022eec7 68184 2906
unix         mteb/cqadupstack-unix            6c6430d3a6d36f8d2a829195bc5dc94d7e063e53 47382 1072
webmasters   mteb/cqadupstack-webmasters      160c094312a0e1facb97e55eeddb698c0abe3571 17405  506
wordpress    mteb/cqadupstack-wordpress       4ffe81d471b1924886b33c7567bfb200e9eec5c4 48605  541
"""
_ZIPS = {"touche2020": "webis-touche2020", "dbpedia": "dbpedia-entity"}  # others: their own name

_TABLE_ORDER = """
nfcorpus scifact trec-covid fiqa arguana climate-fever dbpedia fever hotpotqa msmarco nq quora
scidocs touche2020 cqadupstack
"""
COLUMNS = (*_TABLE_ORDER.split(), MEAN)
_TABLE = {
    "DPR BERT-base": (
        "24.3 51.3 49.5 22.8 31.6 21.9 28.2 64.1 47.9 58.5 37.9 83.1 12.9 20.4 28.5 38.9"
    ),
    "DPR ModernBERT-base": (
        "23.7 57.0 72.1 28.8 35.7 23.6 23.8 59.9 46.1 61.6 39.5 85.9 12.5 20.8 33.1 41.6"
    ),
    "DPR ModernBERT-large": (
        "26.2 60.4 74.1 33.1 38.2 20.5 25.1 62.7 49.2 64.9 45.5 86.5 13.8 23.1 36.5 44.0"
    ),
    "ColBERT BERT-base": (
        "34.2 71.5 69.9 35.0 49.9 19.2 42.4 83.1 69.8 45.4 55.4 84.1 14.7 27.0 34.2 49.0"
    ),
    "ColBERT ModernBERT-base": (
        "35.2 73.0 80.5 38.0 49.1 22.2 42.0 85.8 70.4 45.4 57.1 86.3 16.0 33.9 35.1 51.3"
    ),
    "ColBERT ModernBERT-large": (
        "36.0 73.2 81.3 40.3 50.3 22.3 44.1 85.8 72.5 46.0 59.9 86.1 16.9 34.6 35.9 52.4"
    ),
}
# Pyserini's flat index
_BM25 = "32.18 67.89 59.47 23.61 39.70 16.51 31.80 65.13 63.30 - 30.55 78.86 14.90 44.22 30.21 -"


def _tasks() -> list[Task]:
    tasks = []
    for line in _TASKS.strip().splitlines():
        name, repo, revision, split, documents, queries, query_length = line.split()
        zipped = _ZIPS.get(name, name)
        tasks.append(
            Task(
                name,
                mteb_data(repo, revision, split=split),
                split=split,
                documents=int(documents),
                queries=int(queries),
                drop_own_id=True,
                query_length=int(query_length),
                beir=(zipped, zipped),
            )
        )
    for line in _FORUMS.strip().splitlines():
        forum, repo, revision, documents, queries = line.split()
        tasks.append(
            Task(
                f"cqadupstack-{forum}",
                mteb_data(repo, revision),
                group="cqadupstack",
                documents=int(documents),
                queries=int(queries),
                drop_own_id=True,
                query_length=32,
                beir=("cqadupstack", f"cqadupstack/{forum}"),
            )
        )
    return tasks


def _published() -> list[Published]:
    rows = {row: percent(COLUMNS, values) for row, values in _TABLE.items()}
    for label, name in {"DPR": "beir dpr", "ColBERT": "beir colbert"}.items():
        for model, mean in modernbert_paper.column(name).items():
            rows.setdefault(f"{label} {model}", {MEAN: mean})
    return [
        *(Published(row, scores, modernbert_paper.SOURCE) for row, scores in rows.items()),
        Published("BM25", percent(COLUMNS, _BM25), "Pyserini's BEIR regressions, flat index"),
    ]


SUITE = Suite(
    "beir",
    "BEIR: zero-shot retrieval on 15 collections",
    _tasks(),
    protocol=(
        "Title and text joined by a space. A document with the query's own id is dropped. "
        "CQADupstack is the mean of its 12 forums and counts once; the mean is over all 15. "
        "Every judged query counts, one without results as zero. MS MARCO: split dev; the paper's "
        "DPR column most likely is TREC DL 2019 (split test of BEIR's own zip), its ColBERT column "
        "dev. Late interaction reads 510 tokens of a document (the paper's) and 32, 48 or 64 of a "
        "query by collection (GTE-ModernColBERT's); dense reads 512 of a document. No prompts but "
        "the encoder's own."
    ),
    document_length={"late": 510, "dense": 512},
    published=_published(),
)
