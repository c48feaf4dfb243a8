# %% [markdown]
# # Search code
# Index a package of the standard library, search it by meaning and by name, and narrow the results.
# Each `# %%` starts a cell in VS Code, PyCharm and Jupytext; the file also runs as a script.

# %%
import json
from pathlib import Path
from tempfile import mkdtemp

from mbert_retrieval import Index, load_encoder
from mbert_retrieval.sources import read_source

# %% [markdown]
# A source is a folder, a file, or a collection. Code is split into functions, methods and classes.

# %%
package = Path(json.__file__).parent
passages = list(read_source(package))
for passage in passages[:5]:
    print(passage.id, passage.metadata["kind"], passage.title)

# %%
index = Index.build(f"{mkdtemp()}/json.index", passages, load_encoder("nano"))
print(index)

# %% [markdown]
# ## Search by meaning
# A hit has a rank, a score and its passage.

# %%
for hit in index.search("turn text into Python objects", k=3):
    print(hit.rank, f"{hit.score:.2f}", hit.passage.id, hit.passage.title)

# %% [markdown]
# ## Search by name
# If the query is the name of a definition, that definition comes first.

# %%
(best,) = index.search("JSONDecodeError", k=1)
print(best.passage.title)
print(best.passage.text)

# %% [markdown]
# ## Narrow the results
# A filter reads the passage's fields and metadata.

# %%
for hit in index.search("escape a string", k=3, where="kind = 'function'"):
    print(hit.passage.path, hit.passage.start_line, hit.passage.title)
