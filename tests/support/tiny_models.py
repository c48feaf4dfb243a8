"""Small random models in the formats of the ecosystem, made by transformers itself."""

from __future__ import annotations

import string

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[Q] ", "[D] "]


WORDS = ["return", "list", "file", "python", "read", "write", "how", "to", "the", "of", "parse"]


TEXTS = [
    "return the list of files",
    "def read_file(self, path): return open(path).read()",
    "x",
    "",
    "parse http headers; retry when the connection is closed, and write a log file to disk. " * 4,
    "how to write a file in python?",
]


def tiny_tokenizer():
    """A WordPiece tokenizer over characters and a few words, as transformers wraps it."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    marks = list(string.ascii_lowercase + string.digits + string.punctuation)
    pieces = SPECIALS + marks + ["##" + mark for mark in marks] + WORDS
    backend = Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=512,
    )


def tiny_config(**changes):
    """transformers' configuration of a four-layer ModernBERT, weights drawn wide enough to show
    differences."""
    from transformers import ModernBertConfig

    values = {
        "vocab_size": 256,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "local_attention": 16,
        "max_position_embeddings": 8192,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "cls_token_id": 2,
        "eos_token_id": 3,
        "sep_token_id": 3,
        "initializer_range": 0.2,
    }
    return ModernBertConfig(**(values | changes))
