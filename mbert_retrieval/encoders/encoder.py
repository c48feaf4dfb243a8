"""The encoder: texts in, packed vectors out, by the network in torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from ..backbone import ModernBert
from ..backbone.arrays import UnknownDtype
from ..backbone.checkpoint import backbone_tensors, fill, read_tensors
from ..backbone.int8 import Int8Linear, quantise
from ..packed import Packed
from .base import TOKEN_BUDGET, TextEncoder
from .dense_layer import Dense
from .fingerprint import describe, fingerprint, stored_fingerprint
from .heads import DenseHead, LateHead, TokenBatch
from .inputs import InputSpec, QueryExpansion, attended_tokens
from .spec import STANFORD_PROJECTION, DenseHeadSpec, EncoderSpec
from .tokens import TextTokenizer

CACHED_ACTIVATIONS = 3 * 2**17  # numbers in a batch's hidden states; see benchmarks/encode.py

__all__ = ["Encoder", "InputSpec", "QueryExpansion", "build_encoder"]


class Encoder(TextEncoder):
    """A backbone with one head. Satisfies the same calls whether it gives one vector or many.

    name: what the user called it ("nano", a folder, a hub name).
    pool_factor: token pooling of documents, late interaction only; 1 keeps every vector.
    """

    def __init__(
        self,
        backbone: ModernBert,
        tokenizer: TextTokenizer,
        head: DenseHead | LateHead,
        query: InputSpec,
        document: InputSpec,
        name: str = "",
        pool_factor: float = 1.0,
    ) -> None:
        positions = backbone.config.max_position_embeddings
        super().__init__(head.kind, tokenizer, query, document, positions, name, pool_factor)
        self.backbone, self.head = backbone.eval(), head.eval()
        self._stored: tuple[EncoderSpec, list[tuple[int, int]]] | None = None

    @property
    def dimension(self) -> int:
        return self.head.dimension

    @property
    def skiplist(self) -> tuple[int, ...]:
        return self.head.spec.skiplist

    @property
    def device(self) -> torch.device:
        return self.backbone.embeddings.tok_embeddings.weight.device

    @property
    def precision(self) -> str:
        """What the network computes in, one of `precision.NAMES`."""
        if any(isinstance(module, Int8Linear) for module in self.backbone.modules()):
            return "int8"
        return str(self.backbone.embeddings.tok_embeddings.weight.dtype).removeprefix("torch.")

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of everything that decides the vectors: weights, tokenizer, lengths, prompts.

        It is the same whatever the device and the precision that the folder was loaded with.
        """
        description = describe(self.head.spec, self.backbone.config, self)
        if self._stored is not None and self._is_as_stored():
            try:
                return stored_fingerprint(description, self._stored[0])
            except UnknownDtype:
                pass
        return fingerprint(description, self._tensors())

    def remember_source(self, spec: EncoderSpec) -> None:
        """The weights are, as of now, those of the spec's files."""
        state = self._state()
        if all(version >= 0 for _, version in state):
            self._stored = spec, state

    def save(self, folder: str | Path) -> None:
        """Write the portable folder that sentence-transformers and PyLate load, in float32."""
        from .write import write_encoder

        write_encoder(self._in_float32(), Path(folder))

    def export_onnx(self, folder: str | Path, dtype: str = "float32") -> None:
        """Write a folder that ONNX Runtime runs: `load_encoder` takes it, and so does
        sentence-transformers with backend="onnx".

        dtype: "float32"; "float16", which stores matrices in half precision and computes in
            float32; or "int8", dynamically quantised matrix products (their scales are taken
            from a whole batch, so vectors depend a little on what is encoded together).
        Raises InputError where the `onnx` extra is not installed, where the layout cannot say what
        the encoder does (as `save`), and for a folder that holds a model already.
        """
        from .onnx_export import export_onnx

        export_onnx(self._in_float32(), Path(folder), dtype)

    def _in_float32(self) -> Encoder:
        """With the weights that its folder has, where it computes in less than these and they were
        not changed since; else itself."""
        computes_in = self.backbone.embeddings.tok_embeddings.weight.dtype
        if computes_in == torch.float32 or not self._is_as_stored():
            return self
        assert self._stored is not None
        exact = build_encoder(self._stored[0], "float32", "cpu")
        exact.query, exact.document = self.query, self.document
        return exact

    def _is_as_stored(self) -> bool:
        return self._stored is not None and self._stored[1] == self._state()

    def _state(self) -> list[tuple[int, int]]:
        """Where each tensor is and how often it was written: differs once a weight has changed.
        Made in inference mode, a tensor keeps no count: -1."""
        return [
            (tensor.data_ptr(), -1 if tensor.is_inference() else tensor._version)
            for module in (self.backbone, self.head)
            for tensor in module.state_dict().values()
        ]

    def _tensors(self) -> Iterator[tuple[str, np.ndarray]]:
        for module in (self.backbone, self.head):
            for name, tensor in sorted(module.state_dict().items()):
                yield name, tensor.detach().to("cpu", torch.float32).numpy()

    @property
    def token_budget(self) -> int:
        """On the CPU so few tokens that what a layer makes of them stays in the cache."""
        if self.device.type != "cpu":
            return TOKEN_BUDGET
        return CACHED_ACTIVATIONS // self.backbone.config.hidden_size

    def _map(
        self, forward: Callable[[np.ndarray], Packed], batches: list[np.ndarray]
    ) -> list[Packed]:
        """On the CPU a batch a thread, which shares nothing and so waits for nobody; one batch
        alone has all threads."""
        threads = torch.get_num_threads()
        if self.device.type != "cpu" or threads == 1 or len(batches) == 1:
            return super()._map(forward, batches)
        try:
            with ThreadPoolExecutor(
                threads, initializer=torch.set_num_threads, initargs=(1,)
            ) as pool:
                return list(pool.map(forward, batches))
        finally:
            torch.set_num_threads(threads)  # also what threads to come will have

    @torch.inference_mode()
    def _forward(self, ids: Packed, content: np.ndarray, inputs: InputSpec) -> Packed:
        device = self.device
        values = torch.from_numpy(ids.values).to(device)
        cu_seqlens = torch.from_numpy(ids.offsets).to(device)
        seen = attended_tokens(ids, content, inputs)
        attended = None if seen is None else torch.from_numpy(seen).to(device)
        hidden = self.backbone(values, cu_seqlens, attended).float()
        batch = TokenBatch(values, cu_seqlens, self._prompt_length(inputs), inputs is self.query)
        vectors, offsets = self.head(hidden, batch)
        return Packed(vectors.float().cpu().numpy(), offsets.cpu().numpy().astype(np.int64))


def build_encoder(spec: EncoderSpec, precision: str, device: str) -> Encoder:
    """The encoder of a folder, its weights loaded. precision: see `precision.NAMES`.

    Raises InputError for missing, unknown or wrong-shaped tensors.
    """
    tensors = read_tensors(spec.folder)
    layers = []
    for projection in spec.head.projections:
        if projection.folder is None:
            layer = Dense.build(projection)
            fill(layer, {"linear.weight": tensors.pop(STANFORD_PROJECTION)}, spec.folder)
        else:
            layer = Dense.load(projection.folder)
        layers.append(layer)
    dtype = torch.bfloat16 if precision == "int8" else getattr(torch, precision)
    with torch.device("meta"):
        backbone = ModernBert(spec.config).to(dtype)
    backbone.to_empty(device="cpu")
    fill(backbone, backbone_tensors(tensors), spec.folder)
    head: DenseHead | LateHead
    if isinstance(spec.head, DenseHeadSpec):
        head = DenseHead.build(spec.head, tuple(layers))
    else:
        head = LateHead(tuple(layers), spec.head.skiplist)
    if precision == "int8":
        quantise(backbone)
    encoder = Encoder(
        backbone.to(device),
        spec.tokenizer,
        head.to(device),
        spec.query,
        spec.document,
        pool_factor=spec.pool_factor,
    )
    encoder.remember_source(spec)
    return encoder
