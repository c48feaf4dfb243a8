"""`Encoder`: texts in, packed vectors out, with the network in torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from ..backbone import ModernBert
from ..backbone.arrays import UnknownDtype, check_tensors
from ..backbone.checkpoint import backbone_tensors, fill, read_tensors, shapes
from ..backbone.int8 import Int8Linear, quantise
from ..backbone.numpy_model import tensor_shapes
from ..packed import Packed
from .base import TOKEN_BUDGET, BaseEncoder, chunked
from .dense_layer import Dense
from .fingerprint import describe, fingerprint, stored_fingerprint
from .heads import DenseHead, LateHead, TokenBatch
from .inputs import InputSpec, QueryExpansion, attended_tokens, checked_texts
from .onnx_export import export_onnx
from .spec import STANFORD_PROJECTION, DenseHeadSpec, EncoderSpec
from .tokens import TextTokenizer
from .write import write_encoder

CACHED_ACTIVATIONS = 3 * 2**17  # numbers in a batch's hidden states; see benchmarks/speed/encode.py

__all__ = ["Encoder", "InputSpec", "QueryExpansion", "build_encoder"]


class Encoder(BaseEncoder):
    """A ModernBERT backbone with one head, dense or late-interaction; see `load_encoder`.

    Its calls are the same whether it gives one vector per text or one per token.

    Args:
        backbone: The network.
        tokenizer: Its tokenizer.
        head: What turns hidden states into vectors.
        query: How queries are read.
        document: How documents are read.
        name: What the user called the encoder: "nano", a folder, or a model of the hub.
        pool_factor: Token pooling of documents, late interaction only; 1 keeps every vector.

    Raises:
        InputError: For token pooling with a dense head.

    Example:
        >>> from mbert_retrieval import load_encoder
        >>> encoder = load_encoder("nano")
        >>> encoder.kind, encoder.dimension
        ('late', 64)
        >>> (query,) = encoder.encode_queries("parse a date")
        >>> documents = encoder.encode_documents(["def parse_date(text)", "def circle(r)"])
        >>> scores = [(query @ document.T).max(axis=1).sum() for document in documents]  # MaxSim
        >>> bool(scores[0] > scores[1])
        True
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
        """The device that the network runs on."""
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

        It does not depend on the device and the precision that the folder was loaded with.
        """
        description = describe(self.head.spec, self.backbone.config, self)
        if self._stored is not None and self._is_as_stored():
            try:
                return stored_fingerprint(description, self._stored[0])
            except UnknownDtype:
                pass
        return fingerprint(description, self._tensors())

    def remember_source(self, spec: EncoderSpec) -> None:
        """Record that the present weights are those in the files of `spec`."""
        state = self._state()
        if all(version >= 0 for _, version in state):
            self._stored = spec, state

    def save(self, folder: str | Path) -> None:
        """Write a folder that sentence-transformers and PyLate load, in float32.

        Args:
            folder: Where to write; created if need be.

        Raises:
            InputError: When that folder format cannot express what the encoder does.

        Example:
            >>> from tempfile import TemporaryDirectory
            >>> from mbert_retrieval import load_encoder
            >>> encoder = load_encoder("nano", head="dense")
            >>> with TemporaryDirectory() as folder:
            ...     encoder.save(folder)
            ...     load_encoder(folder).kind
            'dense'
        """
        write_encoder(self._in_float32(), Path(folder))

    def export_onnx(self, folder: str | Path, dtype: str = "float32") -> None:
        """Write a folder that ONNX Runtime runs.

        `load_encoder` loads it, and so does sentence-transformers with backend="onnx".

        Args:
            folder: Where to write.
            dtype: "float32"; "float16", which stores matrices in half precision and computes in
                float32; or "int8", dynamically quantised matrix products, whose scales depend on
                the whole batch, so that vectors depend a little on what is encoded together.

        Raises:
            InputError: When the `onnx` extra is not installed, the folder holds a model already, or
                its format cannot express what the encoder does.
        """
        export_onnx(self._in_float32(), Path(folder), dtype)

    def _in_float32(self) -> Encoder:
        """Return this encoder with the weights of its folder in float32.

        Itself where it computes in float32, or where its weights have changed since loading.
        """
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
        """Return address and write count of each tensor, which differ once a weight has changed.

        A tensor made in inference mode has no count: -1.
        """
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
        """The most tokens of one forward pass: on the CPU, what keeps a layer in the cache."""
        if self.device.type != "cpu":
            return TOKEN_BUDGET
        return CACHED_ACTIVATIONS // self.backbone.config.hidden_size

    def stream_documents_with(
        self, others: Sequence[Encoder], texts: Iterable[str]
    ) -> Iterator[list[Packed]] | None:
        """Encode documents as `stream_documents` of several encoders, running the network once.

        Args:
            others: Encoders of other heads on the same network.
            texts: The documents, read as they are needed.

        Returns:
            An iterator over the vectors of consecutive documents, from this encoder and each of the
            others; None where one of them has other weights, inputs, precision or device.
        """
        if not all(self._has_network_of(other) for other in others):
            return None
        return self._stream_heads([self, *others], texts)

    def _has_network_of(self, other: Encoder) -> bool:
        if not (isinstance(other, Encoder) and self._is_as_stored() and other._is_as_stored()):
            return False
        assert self._stored is not None
        assert other._stored is not None
        return (self._stored[0].folder, self.document, self.precision, self.device) == (
            other._stored[0].folder,
            other.document,
            other.precision,
            other.device,
        )

    def _stream_heads(
        self, encoders: list[Encoder], texts: Iterable[str]
    ) -> Iterator[list[Packed]]:
        for chunk in chunked(checked_texts(texts)):
            ids, content = self.token_ids(chunk, self.document)

            def forward(rows: np.ndarray, ids=ids, content=content) -> list[Packed]:
                some = ids.select(rows)
                hidden, batch = self._hidden(some, content[rows], self.document)
                return [encoder._vectors(hidden, batch) for encoder in encoders]

            vectors = self._in_batches(ids.lengths, forward)
            yield [
                encoder._pooled(of_head) for encoder, of_head in zip(encoders, vectors, strict=True)
            ]

    def _map(
        self, forward: Callable[[np.ndarray], list[Packed]], batches: list[np.ndarray]
    ) -> list[list[Packed]]:
        """Run one batch per thread on the CPU; a single batch uses all threads.

        Threads with batches of their own share nothing and never wait for each other.
        """
        threads = torch.get_num_threads()
        if self.device.type != "cpu" or threads == 1 or len(batches) == 1:
            return super()._map(forward, batches)
        try:
            with ThreadPoolExecutor(
                threads, initializer=torch.set_num_threads, initargs=(1,)
            ) as pool:
                return list(pool.map(forward, batches))
        finally:
            torch.set_num_threads(threads)  # new threads would start with 1 otherwise

    def _forward(self, ids: Packed, content: np.ndarray, inputs: InputSpec) -> Packed:
        return self._vectors(*self._hidden(ids, content, inputs))

    @torch.inference_mode()
    def _hidden(
        self, ids: Packed, content: np.ndarray, inputs: InputSpec
    ) -> tuple[torch.Tensor, TokenBatch]:
        """Return hidden states, (N, hidden) float32, and what heads need to know of the batch."""
        device = self.device
        values = torch.from_numpy(ids.values).to(device)
        cu_seqlens = torch.from_numpy(ids.offsets).to(device)
        mask = attended_tokens(ids, content, inputs)
        attended = None if mask is None else torch.from_numpy(mask).to(device)
        hidden = self.backbone(values, cu_seqlens, attended).float()
        is_query = inputs is self.query
        return hidden, TokenBatch(values, cu_seqlens, self._prompt_length(inputs), is_query)

    @torch.inference_mode()
    def _vectors(self, hidden: torch.Tensor, batch: TokenBatch) -> Packed:
        vectors, offsets = self.head(hidden, batch)
        return Packed(vectors.float().cpu().numpy(), offsets.cpu().numpy().astype(np.int64))


def build_encoder(spec: EncoderSpec, precision: str, device: str) -> Encoder:
    """Build the encoder of a folder and load its weights.

    Args:
        spec: The folder's description.
        precision: What the network computes in, one of `precision.NAMES`.
        device: Where it runs, as torch names it.

    Returns:
        The encoder, in evaluation mode.

    Raises:
        InputError: For missing, unknown or wrong-shaped tensors.
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
    stored = backbone_tensors(tensors)
    check_tensors(shapes(stored), tensor_shapes(spec.config), spec.folder)  # before memory is taken
    dtype = torch.bfloat16 if precision == "int8" else getattr(torch, precision)
    with torch.device("meta"):
        backbone = ModernBert(spec.config).to(dtype)
    backbone.to_empty(device="cpu")
    fill(backbone, stored, spec.folder)
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
