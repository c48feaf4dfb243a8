"""Make more queries for the code among the pairs: what else people might type for a function.

    python examples/nano/rephrase.py --data DIR
    python examples/nano/teach.py --pairs DIR/again/pairs.jsonl.gz --out DIR/again/teacher \\
        --tokenizer DIR/tokenizer/tokenizer.json

Each pair of a function or a comment gets two others, where they can be made: its summary (where the
document has it), web queries made of that, and one of the function's name. DIR/again/of.npy says
which pair each belongs to; train.py reads them with DIR. Pairs held out in DIR are left out.
"""

from __future__ import annotations

import argparse
import ast
import gzip
import json
import re
from pathlib import Path
from random import Random

import numpy as np
from batches import CODE_KINDS, HELD_OUT, OTHER_QUERIES, read_pairs

from extract import summary_of
from questions import name_query, web_query

DEFINED = re.compile(r"^(?:async )?def (\w+)", re.MULTILINE)
TEMPLATE = re.compile(  # what questions.py puts around a phrase
    r"^what is |^(?:python )?how (?:to|do i|do you) |^python (?:code to |function (?:to )?)?"
    r"|(?: in)? python$"
)


def summary_in(document: str) -> str:
    """Of the docstring in a function, "" where there is none."""
    try:
        (function, *_) = ast.parse(document).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""
    if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
        return ""
    summary = summary_of(ast.get_docstring(function) or "")
    return summary if 3 <= len(summary.split()) <= 40 and summary.isascii() else ""


def other_queries(query: str, document: str, count: int, random: Random) -> list[str]:
    """Up to `count` queries for a document, all different and none of them `query`."""
    summary = summary_in(document)
    phrase = summary or TEMPLATE.sub("", query)
    candidates = [summary, *(web_query(phrase, random) for _ in range(2))]
    if name := DEFINED.search(document):
        candidates.append(name_query(name[1].strip("_"), "", random))
    different = [one for one in dict.fromkeys(candidates) if one and one != query]
    random.shuffle(different)
    return different[:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="pairs, teacher")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    random = Random(args.seed)
    pairs = read_pairs(args.data / "pairs.jsonl.gz")
    with_query = [i for i, pair in enumerate(pairs) if pair["query"]][:-HELD_OUT]
    of: list[int] = []
    again = args.data / "again"
    again.mkdir(exist_ok=True)
    with gzip.open(again / "pairs.jsonl.gz", "wt", encoding="utf-8") as out:
        for i in with_query:
            pair = pairs[i]
            if pair["kind"] not in CODE_KINDS:
                continue
            others = other_queries(pair["query"], pair["document"], OTHER_QUERIES, random)
            for query in others:
                out.write(json.dumps({"query": query, "kind": pair["kind"]}) + "\n")
                of.append(i)
    np.save(again / "of.npy", np.array(of, np.int64))
    print(f"{len(of):,} more queries for {len(set(of)):,} pairs")


if __name__ == "__main__":
    main()
