# %% [markdown]
# # Fine-tune a retriever
# Train `nano` on a few pairs, compare before and after, and mine hard negatives for the next round.
# Real data has thousands of pairs; this shows the steps. Needs the extra `train`:
# `pip install 'mbert-retrieval[train]'`. Each `# %%` starts a cell; the file also runs as a script.

# %%
import json
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

from mbert_retrieval import load_encoder
from mbert_retrieval.training import MineRecipe, Recipe, mine, train

folder = Path(mkdtemp())

# %% [markdown]
# ## Pairs
# A query and a passage that answers it, one JSON object per line.

# %%
PAIRS = {
    "ticket 4711": "The printer on the second floor is out of toner.",
    "ticket 4712": "Password reset for a new colleague in sales.",
    "ticket 4713": "The video conference in room 5 has no sound.",
    "ticket 4714": "A laptop does not charge with its own adapter.",
}
with open(folder / "pairs.jsonl", "w", encoding="utf-8") as file:
    for query, positive in PAIRS.items():
        file.write(json.dumps({"query": query, "positive": positive}) + "\n")

# %% [markdown]
# ## Train
# The other passages of a batch serve as negatives. A recipe holds all options;
# `mbert-train dense recipe.toml` reads the same from a file.

# %%
recipe = Recipe.parse(
    "dense",
    {
        "model": {"base": "nano"},
        "data": {"train": str(folder / "pairs.jsonl")},
        "training": {
            "output": str(folder / "run"),
            "steps": 10,
            "batch": 4,
            "learning_rate": 1e-4,
            "warmup": 0.1,
            "log_every": 5,
        },
    },
)
trained = train(recipe, lambda step, steps, logs: print(step, "of", steps, logs))

# %% [markdown]
# ## Compare
# How far the score of each query's answer is above that of the best other passage, on average. On
# real data, measure nDCG@10 with `mbert-eval run` on queries that were not trained on.


# %%
def margin(name: str | Path) -> float:
    encoder = load_encoder(name, "dense", dtype="float32")
    queries = encoder.encode_queries(list(PAIRS)).values
    passages = encoder.encode_documents(list(PAIRS.values())).values
    scores = queries @ passages.T
    others = np.where(np.eye(len(scores), dtype=bool), -np.inf, scores)
    return float((np.diag(scores) - others.max(1)).mean())


before, after = margin("nano"), margin(trained)
print(f"margin before {before:.3f}, after {after:.3f}")
assert after > before

# %% [markdown]
# ## Hard negatives
# Passages that the trained encoder ranks high for a query without being its answer. The rows are
# training data for the next round.

# %%
mining = {"encoder": str(trained), "output": str(folder / "mined.jsonl"), "negatives": 1}
mined = mine(MineRecipe.parse({"data": {"train": str(folder / "pairs.jsonl")}, "mining": mining}))
print(mined.rows, "rows with a hard negative")
