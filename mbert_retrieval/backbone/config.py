"""The shape of a ModernBERT network, read from and written to `config.json`.

Two dialects are in use. transformers 4 wrote `global_rope_theta`, `local_rope_theta` and
`global_attn_every_n_layers`; transformers 5 writes `rope_parameters` and `layer_types`. Both are
read, and both are written, because version 4 silently uses its defaults when only the new keys are
present.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, TypeVar

from ..errors import InputError

GLOBAL, LOCAL = "full_attention", "sliding_attention"
SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_attention_heads",
    "max_position_embeddings",
    "local_attention",
    "num_labels",
)
MOST = 2**31 - 1  # of a size
MOST_LAYERS = 1000
LARGEST = 1e30  # of what is a float


@dataclass(frozen=True)
class ModernBertConfig:
    """The shape of a network; defaults are ModernBERT-base (Warner et al. 2024, arXiv 2412.13663).

    Fields are named as in `config.json`, except `global_layers`. Creating one raises InputError
    when the numbers do not fit together.

    Attributes:
        local_attention: Width of the sliding window: in a local layer, token i attends to token j
            when |i - j| <= local_attention // 2.
        global_layers: For each layer, whether it attends to the whole sequence; every third layer
            by default, starting with the first.
    """

    vocab_size: int = 50368
    hidden_size: int = 768
    intermediate_size: int = 1152
    num_hidden_layers: int = 22
    num_attention_heads: int = 12
    max_position_embeddings: int = 8192
    local_attention: int = 128
    global_layers: tuple[bool, ...] = ()
    global_rope_theta: float = 160_000.0
    local_rope_theta: float = 10_000.0
    norm_eps: float = 1e-5
    norm_bias: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    decoder_bias: bool = True
    classifier_bias: bool = False
    classifier_pooling: str = "cls"
    embedding_dropout: float = 0.0
    attention_dropout: float = 0.0
    mlp_dropout: float = 0.0
    classifier_dropout: float = 0.0
    initializer_range: float = 0.02
    num_labels: int = 2
    pad_token_id: int = 50283
    cls_token_id: int = 50281
    sep_token_id: int = 50282

    def __post_init__(self) -> None:
        for field in fields(self):
            _check(field.name, getattr(self, field.name), field.type)
        for name in (*SIZES, "num_hidden_layers"):
            most = MOST_LAYERS if name == "num_hidden_layers" else MOST
            if not 1 <= getattr(self, name) <= most:
                raise _wrong(name, f"a positive integer, {most:,} at most", getattr(self, name))
        for name in ("norm_eps", "global_rope_theta", "local_rope_theta"):
            if not 0 < getattr(self, name) <= LARGEST:
                raise _wrong(name, "a positive number", getattr(self, name))
        if not self.global_layers:
            every_third = tuple(i % 3 == 0 for i in range(self.num_hidden_layers))
            object.__setattr__(self, "global_layers", every_third)
        if self.hidden_size % self.num_attention_heads or self.head_dim % 2:
            raise InputError(
                f"config: hidden_size {self.hidden_size} does not divide into "
                f"{self.num_attention_heads} heads of an even width"
            )
        if len(self.global_layers) != self.num_hidden_layers:
            raise InputError(
                f"config: layer_types names {len(self.global_layers)} layers, "
                f"num_hidden_layers is {self.num_hidden_layers}"
            )
        if self.classifier_pooling not in ("cls", "mean"):
            raise _wrong("classifier_pooling", "cls or mean", self.classifier_pooling)

    @property
    def head_dim(self) -> int:
        """Width of an attention head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def window(self) -> int:
        """How many tokens a token of a local layer attends to on either side."""
        return self.local_attention // 2

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> ModernBertConfig:
        """Read either dialect of a Hugging Face `config.json`.

        Args:
            raw: The parsed JSON object.

        Returns:
            The shape.

        Raises:
            InputError: For another architecture, or an option that this network lacks.
        """
        model_type = raw.get("model_type")
        if model_type != "modernbert":
            raise InputError(
                f"config: model_type is {shown(model_type)}; only 'modernbert' checkpoints can be "
                "loaded"
            )
        for activation in ("hidden_activation", "classifier_activation"):
            if raw.get(activation, "gelu") != "gelu":
                raise _wrong(activation, "gelu", raw[activation])
        known = {field.name for field in fields(cls)} - {"global_layers"}
        values = {key: raw[key] for key in known if raw.get(key) is not None}
        labels = _typed(raw, "id2label", dict)
        if "num_labels" not in values and labels:
            values["num_labels"] = len(labels)
        layers = raw.get("num_hidden_layers", cls.num_hidden_layers)
        types = _typed(raw, "layer_types", list)
        if types:
            unknown = next((kind for kind in types if kind not in (GLOBAL, LOCAL)), None)
            if unknown is not None or None in types:
                raise _wrong("layer_types", f"a list of {GLOBAL} and {LOCAL}", unknown)
            values["global_layers"] = tuple(kind == GLOBAL for kind in types)
        elif type(layers) is int and layers <= MOST_LAYERS:
            every = raw.get("global_attn_every_n_layers", 3)
            if type(every) is not int or every < 1:
                raise _wrong("global_attn_every_n_layers", "a positive integer", every)
            values["global_layers"] = tuple(i % every == 0 for i in range(layers))
        rotations = _typed(raw, "rope_parameters", dict)
        for kind, key in ((GLOBAL, "global_rope_theta"), (LOCAL, "local_rope_theta")):
            rope = _typed(rotations, kind, dict)
            if rope.get("rope_type", "default") != "default":
                raise _wrong("rope_type", "default", rope["rope_type"])
            if "rope_theta" in rope:
                values[key] = rope["rope_theta"]
        return cls(**values)

    def to_dict(self, architecture: str = "ModernBertModel") -> dict[str, Any]:
        """Return the content of a `config.json` that transformers 4 and 5 both read."""
        raw: dict[str, Any] = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if field.name not in ("global_layers", "num_labels")
        }
        raw |= {
            "architectures": [architecture],
            "model_type": "modernbert",
            "hidden_activation": "gelu",
            "classifier_activation": "gelu",
            "bos_token_id": self.cls_token_id,
            "eos_token_id": self.sep_token_id,
            "position_embedding_type": "absolute",
            "tie_word_embeddings": True,
            "layer_types": [GLOBAL if is_global else LOCAL for is_global in self.global_layers],
            "rope_parameters": {
                GLOBAL: {"rope_type": "default", "rope_theta": self.global_rope_theta},
                LOCAL: {"rope_type": "default", "rope_theta": self.local_rope_theta},
            },
            "id2label": {str(i): f"LABEL_{i}" for i in range(self.num_labels)},
            "label2id": {f"LABEL_{i}": i for i in range(self.num_labels)},
        }
        every = next(
            (n for n in range(1, self.num_hidden_layers + 1) if self._repeats_every(n)), None
        )
        if every is not None:  # a pattern that version 4 can express
            raw["global_attn_every_n_layers"] = every
        return raw

    def _repeats_every(self, n: int) -> bool:
        return all(is_global == (i % n == 0) for i, is_global in enumerate(self.global_layers))


Kind = TypeVar("Kind", dict, list)


def _typed(raw: dict[str, Any], name: str, kind: type[Kind]) -> Kind:
    """Return an object or a list of the settings, an empty one where it is absent."""
    value = raw.get(name)
    if value is None:
        return kind()
    if not isinstance(value, kind):
        raise _wrong(name, "an object" if kind is dict else "a list", value)
    return value


def _check(name: str, value: Any, annotation: Any) -> None:
    """Raise InputError unless the value of a field has the type of its annotation."""
    if annotation == "int" and (not isinstance(value, int) or isinstance(value, bool)):
        raise _wrong(name, "an integer", value)
    if annotation == "float" and (not isinstance(value, int | float) or isinstance(value, bool)):
        raise _wrong(name, "a number", value)
    if annotation == "bool" and not isinstance(value, bool):
        raise _wrong(name, "true or false", value)


def _wrong(name: str, wanted: str, value: Any) -> InputError:
    return InputError(f"config: {name} must be {wanted}, it is {shown(value)}")


def shown(value: Any) -> str:
    """Return a value for a message, however long it is."""
    if isinstance(value, int) and abs(value) > 10**60:
        return "a number of many digits"
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:60] + "…"
