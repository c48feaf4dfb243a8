"""The packed backbone as a sentence-transformers module, for their trainers and losses.

A batch is flat, in the form that sentence-transformers uses for unpadded input: `input_ids` (1, N)
with `cu_seq_lens_q` (B + 1,) and no attention mask. Pooling, Dense, MultiVectorMask and the cached
losses' mini-batches accept it, also on the CPU.
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

INPUTS_FILE = "sides.json"  # in checkpoints: how queries and documents are tokenised


class PackedModernBert(InputModule):
    """The first module of a model: from texts to token ids to hidden states, without padding.

    Attributes:
        backbone: The network.
        text_tokenizer: Its tokenizer.
        query: Length and expansion of queries. The prompt is not used, since sentence-transformers
            passes the prompt along with the texts.
        document: The same of documents.
        lora: The updates that were added to the network, if any.
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
        """The tokenizer as transformers wraps it, for modules that look up words."""
        from transformers import PreTrainedTokenizerFast

        names = {
            role: token
            for role in ("unk_token", "mask_token", "pad_token", "cls_token", "sep_token")
            if (token := self.text_tokenizer.special_token(role))
        }
        return PreTrainedTokenizerFast(tokenizer_object=self.text_tokenizer.backend, **names)

    @property
    def max_seq_length(self) -> int:
        """Maximum number of tokens of a text."""
        return max(self.query.limit, self.document.limit)

    def get_embedding_dimension(self) -> int:
        """Return the dimension of the hidden states."""
        return self.backbone.config.hidden_size

    def preprocess(  # type: ignore[override]
        self,
        inputs: Sequence[str],
        prompt: str | None = None,
        task: str | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Tokenise texts into a flat batch.

        Args:
            inputs: B texts.
            prompt: Text to put in front of each.
            task: "query" for the length and expansion of queries, otherwise those of documents.
            **kwargs: Ignored.

        Returns:
            `input_ids` (1, N) int64; `cu_seq_lens_q` (B + 1,) int64; `attended` (1, N) bool if
            queries are expanded; and `prompt_length`, [CLS] included, if there is a prompt.
        """
        spec = replace(self.query if task == "query" else self.document, prompt=prompt or "")
        ids, content = tokenize(self.text_tokenizer, list(inputs), spec)
        features: dict[str, Any] = {
            "input_ids": torch.from_numpy(ids.values)[None],
            "cu_seq_lens_q": torch.from_numpy(ids.offsets),
        }
        attended = attended_tokens(ids, content, spec)
        if attended is not None:
            features["attended"] = torch.from_numpy(attended)[None]
        if prompt:
            features["prompt_length"] = len(self.text_tokenizer.token_ids(prompt)) + 1
        return features

    def forward(self, features: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        """Return the features with `token_embeddings`, (1, N, hidden), added.

        The argument is not modified, since the cached losses read it again.
        """
        attended: Tensor | None = features.get("attended")
        hidden = self.backbone(
            features["input_ids"][0],
            features["cu_seq_lens_q"],
            None if attended is None else attended[0],
        )
        rest = {key: value for key, value in features.items() if key != "attended"}
        return rest | {"token_embeddings": hidden[None]}

    def save(self, output_path: str, *args: Any, **kwargs: Any) -> None:
        """Write weights, tokenizer and input settings to a checkpoint's folder."""
        folder = Path(output_path)
        save_network(self.backbone, folder)
        self.text_tokenizer.save(folder)
        settings = {"query": asdict(self.query), "document": asdict(self.document)}
        if self.lora is not None:
            settings["lora"] = asdict(self.lora)
        (folder / INPUTS_FILE).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, model_name_or_path: str, *args: Any, **kwargs: Any) -> PackedModernBert:  # type: ignore[override]
        """Load a checkpoint that `save` wrote."""
        folder = Path(model_name_or_path)
        raw = json.loads((folder / INPUTS_FILE).read_text(encoding="utf-8"))
        query, document = (_input_spec(raw[name]) for name in ("query", "document"))
        lora = Lora(**raw["lora"]) if "lora" in raw else None
        backbone = load_with_lora(folder, lora) if lora else load_network(ModernBert, folder)
        return cls(backbone, TextTokenizer.load(folder), query, document, lora)


def _input_spec(raw: dict[str, Any]) -> InputSpec:
    expansion = raw["expansion"]
    return InputSpec(
        raw["prompt"], raw["limit"], QueryExpansion(**expansion) if expansion else None
    )


def to_sentence_transformers(
    encoder: Encoder, lora: Lora | None = None
) -> SentenceTransformer | MultiVectorEncoder:
    """Return an encoder as a model that sentence-transformers trains and evaluates.

    Both share their weights: training the model changes the encoder, whose `save` then writes the
    portable folder. The model stays on the encoder's device.

    Args:
        encoder: The encoder.
        lora: If given, such updates are added to the encoder's network; `merge_lora` merges them.

    Returns:
        A SentenceTransformer for a dense encoder, a MultiVectorEncoder for late interaction.

    Raises:
        InputError: If the encoder truncates its vectors or pools its tokens.
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
            raise InputError("a truncated encoder cannot be trained: omit truncate")
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
            device=str(encoder.device),
        )
    if encoder.pool_factor != 1:
        raise InputError(
            "an encoder with token pooling cannot be trained: load it without pool_factor"
        )
    words = [str(encoder.tokenizer.backend.id_to_token(i)) for i in head.skiplist]
    modules = [first, *(_shared(layer, "token_embeddings") for layer in head.projections)]
    modules += [Normalize(module_input_name="token_embeddings"), MultiVectorMask(words)]
    return MultiVectorEncoder(modules=modules, prompts=prompts, device=str(encoder.device))


def _shared(layer: Dense, name: str) -> TheirDense:
    """sentence-transformers' Dense layer on the feature `name`, with the parameters of ours."""
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
