"""The library in one file: build an index, search it, filter, explain, change it.

    python examples/notebooks/tour.py

Cells (`# %%`) run one by one in editors that know them. Needs nothing but the package; takes a few
seconds.
"""

# %% Passages: what goes into an index
from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from mbert_retrieval import Index, Passage, load_encoder

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
