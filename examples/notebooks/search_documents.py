# %% [markdown]
# # Search documents
# Index a collection of your own texts with metadata, filter by it, keep the index up to date, and
# see why a passage is ranked first. Each `# %%` starts a cell; the file also runs as a script.

# %%
from tempfile import mkdtemp

from mbert_retrieval import Index, Passage, load_encoder

# %% [markdown]
# ## A collection
# A passage has a unique id, a text, and optionally a title and any JSON values as metadata.

# %%
articles = [
    Passage(
        "a1", "Rising seas submerge the old harbour twice a year.", "Tides", metadata={"year": 2021}
    ),
    Passage(
        "a2", "The bakery opens at six and sells out of rye bread by nine.", metadata={"year": 2022}
    ),
    Passage(
        "a3", "A dam upstream keeps the river from flooding the town.", metadata={"year": 2023}
    ),
    Passage(
        "a4", "Bees return to the orchards once the cherry trees bloom.", metadata={"year": 2023}
    ),
]
index = Index.build(f"{mkdtemp()}/articles.index", articles, load_encoder("nano"))
print(index)

# %% [markdown]
# ## Search and filter

# %%
for hit in index.search("protection against flood water", k=2):
    print(hit.rank, hit.passage.id, hit.passage.text)

# %%
for hit in index.search("protection against flood water", k=2, where="year >= 2023"):
    print(hit.rank, hit.passage.id, hit.passage.metadata["year"])

# %% [markdown]
# ## Explain
# Each leg (late interaction, BM25) has its own ranking; a hybrid search fuses them.

# %%
result = index.search("protection against flood water", k=1)
(explanation,) = result.explain()
for leg in explanation.legs:
    print(leg.leg, leg.rank, f"{leg.share:.2f}")
for match in explanation.tokens:
    print(f"{match.query!r:15} {match.text!r:15} {match.score:.2f}")

# %% [markdown]
# ## Change
# `add` inserts or replaces passages by id, `delete` removes them, and `sync` makes the index hold
# exactly the given passages. Only new and changed ones are encoded.

# %%
index.add([Passage("a5", "Volunteers fill sandbags before the storm.", metadata={"year": 2024})])
index.delete(["a2"])
print(len(index), "passages")
print(index.search("protection against flood water", k=1, where="year = 2024")[0].passage.text)
