"""Build a small index with the `nano` encoder, search it in every mode, and explain a hit.

python examples/quickstart.py
"""

from tempfile import TemporaryDirectory

from mbert_retrieval import Index, Passage, load_encoder

PASSAGES = [
    Passage("dates.py", "def parse_date(text): return date.fromisoformat(text)"),
    Passage("retry.py", "def retry(call, times): # call again after a failure, up to `times`"),
    Passage("config.py", "def read_config(path): return tomllib.load(open(path, 'rb'))"),
    Passage("net.py", "def connect(host, port): return socket.create_connection((host, port))"),
]
QUERY = "try a call again"

with TemporaryDirectory() as folder:
    encoders = [load_encoder("nano", "late"), load_encoder("nano", "dense")]
    index = Index.build(f"{folder}/my.index", PASSAGES, encoders)
    for mode in ("hybrid", "vector", "late", "dense", "lexical"):
        result = index.search(QUERY, k=2, mode=mode)
        print(f"{mode:8}", *(f"{hit.rank}. {hit.passage.id} ({hit.score:.2f})" for hit in result))

    (explanation,) = index.search(QUERY, k=1).explain()
    for leg in explanation.legs:  # what each part of the index contributed to the score
        print(f"{leg.leg}: rank {leg.rank}, contributes {leg.share:.2f}")
    for match in sorted(explanation.tokens, key=lambda match: -match.score)[:3]:
        print(f"{match.query!r} matches {match.text!r} ({match.score:.2f})")
