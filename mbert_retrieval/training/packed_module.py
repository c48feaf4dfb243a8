"""The packed network as a sentence-transformers module, so that their trainers and losses run it.

A batch goes in flat, as sentence-transformers writes an unpadded one: `input_ids` (1, N) with
`cu_seq_lens_q` (B + 1,) and no attention mask. Pooling, Dense, MultiVectorMask and the cached
losses' mini-batches understand it, on the CPU too.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from sentence_transformers import MultiVectorEncoder, SentenceTransformer
from sentence_transformers.base.modules import Dense as TheirDense
from sentence_transformers.base.modules import InputModule, Normalize
from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
from sentence_transformers.sentence_transformer.modules import Pooling
from torch import Tensor, nn

from ..backbone import ModernBert, load_network, save_network
from ..encoders.dense_layer import Dense
from ..encoders.encoder import Encoder
from ..encoders.heads import DenseHead
from ..encoders.inputs import InputSpec, QueryExpansion, attended_tokens, tokenize
from ..encoders.tokens import TextTokenizer
from ..errors import InputError
from .lora import Lora, add_lora, load_with_lora

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

SIDES_FILE = "sides.json"


class PackedModernBert(InputModule):
    """The first module of a model: texts to token ids to hidden states, nothing padded.

    query, document: how the texts of each task are cut and expanded. Their prompts are not used:
    sentence-transformers passes the prompt of a text itself. lora: of the updates that the network
    has been given.
    """

    def __init__(
        self,
        backbone: ModernBert,
        tokenizer: TextTokenizer,
        query: InputSpec,
        document: InputSpec,
        lora: Lora | None = None,
    ) -> None:
        super().__init__()
        self.lora = lora
        self.backbone = backbone
        self.text_tokenizer = tokenizer
        self.query, self.document = query, document

    @property
    def tokenizer(self) -> PreTrainedTokenizerFast:  # type: ignore[override]
        """transformers' view of the tokenizer, for modules that look words up."""
        from transformers import PreTrainedTokenizerFast

        names = {
            role: token
            for role in ("unk_token", "mask_token", "pad_token", "cls_token", "sep_token")
            if (token := self.text_tokenizer.special_token(role))
        }
        return PreTrainedTokenizerFast(tokenizer_object=self.text_tokenizer.backend, **names)

    @property
    def max_seq_length(self) -> int:
        return max(self.query.limit, self.document.limit)

    def get_embedding_dimension(self) -> int:
        return self.backbone.config.hidden_size

    def preprocess(  # type: ignore[override]
        self,
        inputs: Sequence[str],
        prompt: str | None = None,
        task: str | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Texts to a flat batch.

        task: "query" takes the query's length and expansion, anything else the document's.
        Returns `input_ids` (1, N) int64, `cu_seq_lens_q` (B + 1,) int64, where queries are expanded
        `attended` (1, N) bool, and where there is a prompt `prompt_length`, [CLS] included.
        """
        side = replace(self.query if task == "query" else self.document, prompt=prompt or "")
        ids, content = tokenize(self.text_tokenizer, list(inputs), side)
        features: dict[str, Any] = {
            "input_ids": torch.from_numpy(ids.values)[None],
            "cu_seq_lens_q": torch.from_numpy(ids.offsets),
        }
        attended = attended_tokens(ids, content, side)
        if attended is not None:
            features["attended"] = torch.from_numpy(attended)[None]
        if prompt:
            features["prompt_length"] = len(self.text_tokenizer.token_ids(prompt)) + 1
        return features

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Adds `token_embeddings`, (1, N, hidden). The given dictionary stays as it is: a cached
        loss reads it again."""
        attended: Tensor | None = features.get("attended")
        hidden = self.backbone(
            features["input_ids"][0],
            features["cu_seq_lens_q"],
            None if attended is None else attended[0],
        )
        rest = {key: value for key, value in features.items() if key != "attended"}
        return rest | {"token_embeddings": hidden[None]}

    def save(self, output_path: str, *args: Any, **kwargs: Any) -> None:
        """Write weights, tokenizer and sides into a checkpoint's root."""
        folder = Path(output_path)
        save_network(self.backbone, folder)
        self.text_tokenizer.save(folder)
        sides = {"query": asdict(self.query), "document": asdict(self.document)}
        if self.lora is not None:
            sides["lora"] = asdict(self.lora)
        (folder / SIDES_FILE).write_text(json.dumps(sides, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, model_name_or_path: str, *args: Any, **kwargs: Any) -> PackedModernBert:  # type: ignore[override]
        """Read what `save` wrote."""
        folder = Path(model_name_or_path)
        raw = json.loads((folder / SIDES_FILE).read_text(encoding="utf-8"))
        query, document = (_read_side(raw[name]) for name in ("query", "document"))
        lora = Lora(**raw["lora"]) if "lora" in raw else None
        backbone = load_with_lora(folder, lora) if lora else load_network(ModernBert, folder)
        return cls(backbone, TextTokenizer.load(folder), query, document, lora)


def _read_side(raw: dict[str, Any]) -> InputSpec:
    expansion = raw["expansion"]
    return InputSpec(
        raw["prompt"], raw["limit"], QueryExpansion(**expansion) if expansion else None
    )


def sentence_transformer(
    encoder: Encoder, lora: Lora | None = None
) -> SentenceTransformer | MultiVectorEncoder:
    """The encoder as a model that sentence-transformers trains and evaluates.

    Both share their weights: what training changes, the encoder has changed too, and
    `encoder.save` then writes the portable folder. lora: the encoder's network is given such
    updates; `merge_lora` ends that.
    Raises InputError for a truncated encoder and for one with token pooling.
    """
    head = encoder.head
    prompts = {"query": encoder.query.prompt, "document": encoder.document.prompt}
    if lora is not None:
        add_lora(encoder.backbone, lora)
    first = PackedModernBert(
        encoder.backbone, encoder.tokenizer, encoder.query, encoder.document, lora
    )
    if isinstance(head, DenseHead):
        if head.truncated:
            raise InputError("a truncated encoder cannot be trained: load it whole")
        pooling = Pooling(
            encoder.backbone.config.hidden_size,
            head.poolings[0] if len(head.poolings) == 1 else head.poolings,
            include_prompt=head.include_prompt,
        )
        modules: list[nn.Module] = [first, pooling]
        modules += [_shared(layer, "sentence_embedding") for layer in head.projections]
        if head.normalize:
            modules.append(Normalize())
        return SentenceTransformer(
            modules=modules,
            prompts=prompts,
            similarity_fn_name="cosine" if head.normalize else "dot",
        )
    if encoder.pool_factor != 1:
        raise InputError("an encoder with token pooling cannot be trained: load it without")
    words = [str(encoder.tokenizer.backend.id_to_token(i)) for i in head.skiplist]
    modules = [first, *(_shared(layer, "token_embeddings") for layer in head.projections)]
    modules += [Normalize(module_input_name="token_embeddings"), MultiVectorMask(words)]
    return MultiVectorEncoder(modules=modules, prompts=prompts)


def _shared(layer: Dense, name: str) -> TheirDense:
    """Their Dense on the feature `name`, with the parameters of ours."""
    settings = layer.spec
    theirs = TheirDense(
        settings.in_features,
        settings.out_features,
        settings.bias,
        layer.activation,
        module_input_name=name,
        use_residual=settings.use_residual,
    )
    theirs.linear = layer.linear
    if hasattr(layer, "residual"):
        theirs.residual = layer.residual
    return theirs
