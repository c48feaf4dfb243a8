"""Text to packed token ids, by the `tokenizer.json` of a checkpoint folder."""

from __future__ import annotations

import json
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np

from ..backbone.files import read_json
from ..errors import InputError
from ..packed import Packed

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ROLES = ("mask_token", "pad_token", "unk_token")  # of special tokens


class TextTokenizer:
    """A fast tokenizer and the settings of its `tokenizer_config.json`.

    It needs the `tokenizers` library alone: importing transformers would take seconds.

    Args:
        tokenizer: The backend.
        config: The settings of `tokenizer_config.json`.
    """

    def __init__(self, tokenizer: Tokenizer, config: dict) -> None:
        self.backend = tokenizer
        self.backend.no_padding()
        self.config = config
        # the limit is a setting of the backend: no other thread may change it before it is used
        self._truncating = Lock()

    @classmethod
    def load(cls, folder: Path, lower_case: bool = False) -> TextTokenizer:
        """Load a folder's tokenizer.

        Args:
            folder: A checkpoint folder.
            lower_case: Whether to convert texts to lower case first.

        Returns:
            The tokenizer.

        Raises:
            InputError: When the folder has no readable `tokenizer.json`.
        """
        from tokenizers import Tokenizer, normalizers

        path = folder / "tokenizer.json"
        if not path.is_file():
            raise InputError(f"{folder}: tokenizer.json is missing")
        try:
            backend = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise InputError(f"{path}: not a tokenizer file ({error})") from error
        if lower_case:
            rest = [backend.normalizer] if backend.normalizer is not None else []
            backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), *rest])
        config = folder / "tokenizer_config.json"
        loaded = cls(backend, read_json(config) if config.is_file() else {})
        for role in ROLES:
            if not isinstance(loaded.special_token(role), str | None):
                raise InputError(f"{config}: {role} must be a string")
        return loaded

    def id_of(self, token: str) -> int | None:
        """Return the id of a token, None when the vocabulary lacks it."""
        return self.backend.token_to_id(token)

    def token_of(self, id: int) -> str:
        """Return the token with this id, as the vocabulary spells it."""
        return self.backend.id_to_token(id) or str(id)

    def special_token(self, role: str) -> str | None:
        """Return the token of a role such as "mask_token" or "pad_token"; None without one."""
        token = self.config.get(role)
        return token.get("content") if isinstance(token, dict) else token

    def token_ids(self, text: str) -> list[int]:
        """Return the ids of a text alone, without special tokens around it."""
        with self._truncating:
            self.backend.no_truncation()
            return self.backend.encode(text, add_special_tokens=False).ids

    def register_marker(self, prefix: str) -> None:
        """Make sure that a ColBERT marker such as "[Q] " is read as a single token.

        PyLate and Stanford ColBERT insert the marker's id. Its text in front of the input gives the
        same ids, provided that the token (with its trailing space, or without) is matched before
        normalisation. A prefix that is not in the vocabulary stays ordinary text.
        """
        from tokenizers import AddedToken

        if not prefix.strip():
            return
        for marker in (prefix, prefix.split(maxsplit=1)[0]):
            known = self.id_of(marker)
            if known is not None:
                if self.token_ids(marker) != [known]:
                    self.backend.add_special_tokens([AddedToken(marker, normalized=False)])
                return

    def encode(self, texts: list[str], limit: int) -> Packed:
        """Convert texts to ids, with special tokens around each.

        Args:
            texts: The texts.
            limit: The most ids per text, special tokens included; the rest is truncated.

        Returns:
            Packed int64 ids, one sequence per text.
        """
        with self._truncating:
            self.backend.enable_truncation(limit)
            encodings = self.backend.encode_batch_fast(texts)
        return Packed.from_sequences([e.ids for e in encodings], dtype=np.int64)

    def spans(self, text: str, limit: int) -> list[tuple[int, int]]:
        """Return start and end in `text`, in characters, of each token that `encode` returns.

        (0, 0) for special tokens.
        """
        with self._truncating:
            self.backend.enable_truncation(limit)
            return self.backend.encode(text).offsets

    def to_json(self) -> str:
        """Return the content of `tokenizer.json`, without truncation."""
        self.backend.no_truncation()
        return self.backend.to_str()

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` and a `tokenizer_config.json` that transformers 4 and 5 read."""
        self.backend.no_truncation()
        self.backend.save(str(folder / "tokenizer.json"))
        config = {
            key: value
            for key, value in self.config.items()
            if key not in ("backend", "is_local", "local_files_only")
        }
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
        text = json.dumps(config, indent=2, ensure_ascii=False)
        (folder / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")
