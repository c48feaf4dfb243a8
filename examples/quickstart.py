<<<<<<< HEAD
"""The library in one file: build an index, search it, filter, explain, change it.

    python examples/quickstart.py

Cells (`# %%`) run one by one in editors that know them. Needs nothing but the package; takes a few
seconds.
"""

# %% Passages: what goes into an index
from __future__ import annotations

from pathlib import Path
=======
"""Build a small index with the `nano` encoder, search it in every mode, and explain a hit.

python examples/quickstart.py
"""

>>>>>>> fe1cb1b (Examples: a quick start, three notebooks as scripts that tests run, and a page of what is where; training's docstring examples are run)
from tempfile import TemporaryDirectory

from mbert_retrieval import Index, Passage, load_encoder

<<<<<<< HEAD
passages = [
    Passage(
        id="dates.py:1",
        text="def parse_date(text):\n    return datetime.strptime(text, '%Y-%m-%d').date()",
        title="parse_date",
        metadata={"language": "python", "kind": "function"},
    ),
    Passage(
        id="net.py:1",
        text="MAX_RETRIES = 3\n\ndef fetch(url):\n    for attempt in range(MAX_RETRIES): ...",
        title="fetch",
        metadata={"language": "python", "kind": "function"},
    ),
    Passage(
        id="manual.md:1",
        text="A failed request is repeated three times. Change MAX_RETRIES for more.",
        title="Retries",
        metadata={"language": "markdown", "kind": "section"},
    ),
]

# %% An index, by the encoder that is in the package
folder = TemporaryDirectory()
encoder = load_encoder("nano")  # late interaction; head="dense" for one vector per passage
index = Index.build(Path(folder.name) / "quick.index", passages, encoder)
print(index)

# %% Search: late interaction and BM25, fused
for hit in index.search("how often is a failed download tried again", k=3):
    print(f"{hit.rank}. {hit.score:5.2f}  {hit.passage.title}")

# %% Only some passages, and one leg alone
result = index.search("retries", where="language = 'python'", mode="late")
print([hit.passage.id for hit in result])

# %% Why a passage has its score
explanation = index.search("parse a date", k=1).explain()[0]
for leg in explanation.legs:
    print(leg)
for token in explanation.tokens:
    print(f"{token.query!r} met {token.text!r}: {token.score:.2f}")

# %% Change it: each call is one commit
index.add(
    [Passage(id="dates.py:9", text="def days_between(first, last): ...", title="days_between")]
)
index.delete("manual.md:1")
print(len(index), "passages")

# %% Vectors themselves: sequences of unequal length, laid end to end
vectors = encoder.encode_queries(["parse a date", "retry"])
print(vectors.values.shape, vectors.offsets)

# %%
index.close()
folder.cleanup()
=======
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
>>>>>>> fe1cb1b (Examples: a quick start, three notebooks as scripts that tests run, and a page of what is where; training's docstring examples are run)
