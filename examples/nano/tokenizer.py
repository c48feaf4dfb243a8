"""Train the tokenizer of `nano`: 16,384 lower-case word pieces over bytes, at home in code.

    python examples/nano/tokenizer.py --pairs DIR/pairs.jsonl.gz --out DIR/tokenizer

`parseHTTPResponse` and `parse_http_response` become the same words, each punctuation mark is a
token of its own, and every byte is in the vocabulary, so that no text is ever unknown.
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Iterator
from pathlib import Path

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

VOCABULARY = 16_384
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[Q]", "[D]")  # ids 0 to 6
PREFIXES = ("[Q]", "[D]")  # "[Q] text": the space after them is theirs
CONTINUATION = "##"
LONGEST_RUN = 32  # characters; longer runs of letters are cut, at most 4 bytes a character
CAMEL_CASE = Regex(r"(?<=\p{Ll})(?=\p{Lu})|(?<=\p{Lu})(?=\p{Lu}\p{Ll})")
PIECES = Regex(rf"\p{{N}}{{1,3}}|[\p{{P}}\p{{S}}]|[^\s\p{{N}}\p{{P}}\p{{S}}]{{1,{LONGEST_RUN}}}")


def untrained() -> Tokenizer:
    """The pipeline around an empty vocabulary."""
    tokenizer = Tokenizer(word_piece({}))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(CAMEL_CASE, " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Split(PIECES, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.WordPiece(CONTINUATION, cleanup=False)
    return tokenizer


def word_piece(vocabulary: dict[str, int]) -> models.WordPiece:
    return models.WordPiece(
        vocabulary,
        unk_token="[UNK]",
        continuing_subword_prefix=CONTINUATION,
        max_input_chars_per_word=4 * LONGEST_RUN,
    )


def complete(learned: dict[str, int]) -> dict[str, int]:
    """The learned pieces after the special tokens and every byte, bare and as a continuation."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = [*SPECIAL_TOKENS, *alphabet, *(CONTINUATION + byte for byte in alphabet)]
    tokens += sorted(learned.keys() - set(tokens), key=learned.__getitem__)
    if len(tokens) < VOCABULARY:
        raise SystemExit(f"too little text: {len(tokens)} pieces learned of {VOCABULARY}")
    return {token: i for i, token in enumerate(tokens[:VOCABULARY])}


def train(texts: Iterator[str]) -> Tokenizer:
    """Learn the pieces of some texts; greedy longest match finds them again."""
    tokenizer = untrained()
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        continuing_subword_prefix=CONTINUATION,
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    learned = tokenizer.get_vocab(with_added_tokens=False)
    tokenizer = untrained()
    tokenizer.model = word_piece(complete(learned))
    tokenizer.add_special_tokens(
        [AddedToken(t, rstrip=t in PREFIXES, normalized=False) for t in SPECIAL_TOKENS]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[(t, SPECIAL_TOKENS.index(t)) for t in ("[CLS]", "[SEP]")],
    )
    return tokenizer


def save(tokenizer: Tokenizer, folder: Path) -> None:
    """Write tokenizer.json and the tokenizer_config.json that transformers reads."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 8192,
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False,
        "additional_special_tokens": list(PREFIXES),
    }
    config |= {f"{t[1:-1].lower()}_token": t for t in SPECIAL_TOKENS if t not in PREFIXES}
    text = json.dumps(config, indent=2) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")


def read_texts(pairs: Path) -> Iterator[str]:
    """All queries and documents."""
    with gzip.open(pairs, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            yield row["document"]
            if row["query"]:
                yield row["query"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=Path, required=True, help="what gather.py wrote")
    parser.add_argument("--out", type=Path, required=True, help="the tokenizer's folder")
    args = parser.parse_args()
    tokenizer = train(read_texts(args.pairs))
    save(tokenizer, args.out)
    print(f"{tokenizer.get_vocab_size()} tokens in {args.out}")


if __name__ == "__main__":
    main()
