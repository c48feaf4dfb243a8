"""A fact at a random depth of a long document: does the late-interaction head find the document?

    python -m benchmarks.quality.needle --encoder nano

After LongEmbed's needle and passkey tests (Zhu et al. 2024), whose data is not at hand: 100
documents of one length, made of paragraphs of Python's own documentation in random order, each with
one fact of its own somewhere between two paragraphs. Ten documents hold a fact of the same kind
about other people and places. One question per document; nDCG@1 is the share of questions whose own
document has the highest MaxSim of all (scores are exact: no index, no pruning). Writes
docs/results/needle.md and nano's model card.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np

from benchmarks.results_page import CARD, write_table
from mbert_retrieval import InputError, load_encoder

LENGTHS = (512, 1024, 2048, 4096, 8192)
DEPTHS = 5  # equal parts of a document, counted apart
ROOM = 64  # tokens left for the fact and what a paragraph's cut costs

# (question, fact): {0} and {1} are the names that tell one document's fact from another's
FACTS = (
    ("what is the pass key of {0}", "The pass key of {0} is {2}. Remember it."),
    ("who repairs the clocks of {1}", "The clocks of {1} are repaired by {0} every spring."),
    ("which colour is the door of the school in {1}", "In {1} the school has a {3} door."),
    ("when does the ferry to {1} leave", "The ferry to {1} leaves at {2} from the eastern pier."),
    ("what does {0} keep in the cellar", "In the cellar {0} keeps {2} bottles of {3} vinegar."),
    ("how tall is the lighthouse of {1}", "The lighthouse of {1} is {2} feet tall."),
    ("which instrument does {0} play", "On Sundays {0} plays the {3} accordion in the square."),
    ("what is the best thing to eat in {1}", "The best thing to eat in {1} is {3} plum cake."),
    ("where did {0} lose the ring", "It was near {1} that {0} lost the {3} ring."),
    ("how many bridges are there in {1}", "There are {2} bridges in {1}, all of stone."),
)
PEOPLE = ("Alma", "Boris", "Celia", "Dimitri", "Elena", "Farouk", "Greta", "Hiroshi")
FAMILIES = ("Abbott", "Brandt", "Castillo", "Duval", "Eriksen", "Fontana", "Gruber", "Hartley")
PLACES = (
    *("Ashford", "Bergen", "Cordoba", "Dunmore", "Elba", "Fairhaven", "Gdansk", "Harrow"),
    *("Innsbruck", "Juneau", "Kilkenny", "Lund", "Modena", "Narvik", "Oban", "Porto"),
)
COLOURS = ("red", "green", "blue", "yellow", "purple", "orange", "black", "white", "silver")


@dataclass(frozen=True)
class Haystacks:
    """documents[i] holds the answer to questions[i] at depths[i], from 0 (start) to 1 (end)."""

    documents: list[str]
    questions: list[str]
    depths: list[float]


def paragraphs() -> list[str]:
    """The paragraphs of Python's own help topics, of at least ten words."""
    from pydoc_data.topics import topics

    texts = {
        " ".join(paragraph.split()): None
        for text in topics.values()
        for paragraph in text.split("\n\n")
    }
    return [paragraph for paragraph in texts if len(paragraph.split()) >= 10]


def build(encoder: Any, length: int, seed: int = 0) -> Haystacks:
    """One document of `length` tokens for each fact and pair of names."""
    random = Random(f"{seed} {length}")
    filler = paragraphs()
    lengths = encoder.token_ids(filler, encoder.document)[0].lengths - 3  # [CLS], [D] and [SEP]
    sizes = dict(zip(filler, lengths.tolist(), strict=True))
    haystacks = Haystacks([], [], [])
    for question, fact in FACTS:
        people = random.sample([f"{a} {b}" for a in PEOPLE for b in FAMILIES], 10)
        for person, city in zip(people, random.sample(PLACES, 10), strict=True):
            names = (person, city, str(random.randint(12, 999)), random.choice(COLOURS))
            parts, room = [], length - ROOM
            for paragraph in random.sample(filler, len(filler)):
                if sizes[paragraph] <= room:
                    parts.append(paragraph)
                    room -= sizes[paragraph]
            place_of_fact = random.randint(0, len(parts))
            parts.insert(place_of_fact, fact.format(*names))
            before = sum(sizes[p] for p in parts[:place_of_fact])
            haystacks.documents.append("\n\n".join(parts))
            haystacks.questions.append(question.format(*names))
            haystacks.depths.append(before / sum(sizes[p] for p in parts if p in sizes))
    return haystacks


def found_first(encoder: Any, haystacks: Haystacks) -> np.ndarray:
    """(questions,) bool: whether the question's own document has the highest MaxSim."""
    queries = encoder.encode_queries(haystacks.questions)
    scores = np.empty((len(haystacks.questions), len(haystacks.documents)), np.float32)
    for column, document in enumerate(haystacks.documents):
        best = (queries.values @ encoder.encode_documents([document]).values.T).max(axis=1)
        scores[:, column] = np.add.reduceat(best, queries.offsets[:-1])
    return scores.argmax(axis=1) == np.arange(len(scores))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--encoder", default="nano", help="name or folder, late interaction")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS, help="tokens")
    parser.add_argument("--no-table", action="store_true", help="print only")
    arguments = parser.parse_args()
    heads = [f"{100 * i // DEPTHS}-{100 * (i + 1) // DEPTHS} %" for i in range(DEPTHS)]
    lines = [
        "| tokens | nDCG@1 | " + " | ".join(f"depth {head}" for head in heads) + " |",
        "| ---: " * (2 + DEPTHS) + "|",
    ]
    try:
        for length in arguments.lengths:
            encoder = load_encoder(arguments.encoder, document_length=length)
            haystacks = build(encoder, length)
            correct = found_first(encoder, haystacks)
            part = np.minimum((np.array(haystacks.depths) * DEPTHS).astype(int), DEPTHS - 1)
            cells = [
                f"{correct[part == i].mean():.2f} of {(part == i).sum()}" for i in range(DEPTHS)
            ]
            lines.append(f"| {length:,} | {correct.mean():.2f} | " + " | ".join(cells) + " |")
            print(lines[-1], file=sys.stderr, flush=True)
        if not arguments.no_table:
            for page in (None, CARD):
                write_table("needle", "\n".join(lines), page)
    except InputError as error:
        sys.exit(f"needle: {error}")


if __name__ == "__main__":
    main()
