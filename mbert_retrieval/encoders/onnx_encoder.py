"""An exported encoder: its network runs in ONNX Runtime, its head in numpy, without torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property

import numpy as np

from ..errors import InputError
from ..packed import Packed, offsets_from_lengths
from .base import FolderEncoder
from .fingerprint import cached_digest, describe
from .inputs import InputSpec, attended_tokens
from .numpy_heads import NumpyHead
from .spec import ONNX_GRAPH, EncoderSpec

PAIRS = 2**22  # pairs of tokens in a batch: bounds the memory of attention scores
LENGTH_SLACK = 0.85  # shortest to longest sequence of a batch, at least


class OnnxEncoder(FolderEncoder):
    """Encode like `encoder.Encoder`, from a folder that `export_onnx` or optimum wrote.

    Args:
        spec: The encoder's folder.
        name: What the user called the encoder.

    Raises:
        InputError: When onnxruntime is not installed or cannot run the graph.
    """

    def __init__(self, spec: EncoderSpec, name: str = "") -> None:
        super().__init__(spec, name)
        try:
            import onnxruntime
        except ImportError as error:
            raise InputError(
                f"{spec.folder} is an ONNX export, which needs the package onnxruntime: "
                "pip install 'mbert-retrieval[onnx]'"
            ) from error
        self._head = NumpyHead(spec.head, spec.projection_weights())
        path = spec.folder / ONNX_GRAPH
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime's errors share no other base
            reason = " ".join(str(error).split())
            raise InputError(f"{path}: onnxruntime cannot load it ({reason})") from error
        inputs = {value.name for value in self._session.get_inputs()}
        outputs = [value.name for value in self._session.get_outputs()]
        self._output = next(
            (n for n in ("last_hidden_state", "token_embeddings") if n in outputs), ""
        )
        if inputs != {"input_ids", "attention_mask"} or not self._output:
            raise InputError(
                f"{path}: the graph must take input_ids and attention_mask and give "
                f"last_hidden_state; it takes {sorted(inputs)} and gives {outputs}"
            )

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of everything that decides the vectors.

        It differs from that of the exported encoder, whose vectors are not the same to the last
        bit.
        """
        spec = self.spec
        description = b"onnx" + describe(spec.head, spec.config, self)
        graph = spec.folder / ONNX_GRAPH
        beside = [path for path in (graph.with_name("model.onnx_data"),) if path.is_file()]
        files = [graph, *beside, *spec.projection_files]

        def compute() -> str:
            digest = hashlib.sha256(description)
            for path in files:
                with path.open("rb") as file:
                    digest.update(hashlib.file_digest(file, "sha256").digest())
            return digest.hexdigest()

        return cached_digest(description, files, compute)

    def _forward(self, ids: Packed, content: np.ndarray, inputs: InputSpec) -> Packed:
        """Return the vectors of one batch, whose sequences come longest first."""
        attended = attended_tokens(ids, content, inputs)
        visible = np.ones(len(ids.values), bool) if attended is None else attended
        hidden = np.empty((len(ids.values), self.spec.config.hidden_size), np.float32)
        for batch in rectangles(ids.lengths):
            lengths = ids.lengths[batch]
            real = np.arange(lengths.max()) < lengths[:, None]  # (B, L)
            span = slice(ids.offsets[batch.start], ids.offsets[batch.stop])
            padded_ids, mask = np.zeros((2, *real.shape), np.int64)
            padded_ids[real], mask[real] = ids.values[span], visible[span]
            feed = {"input_ids": padded_ids, "attention_mask": mask}
            hidden[span] = self._session.run([self._output], feed)[0][real]
        packed = Packed(hidden, offsets_from_lengths(ids.lengths))
        return self._head(packed, ids, self._prompt_length(inputs), inputs is self.query)


def rectangles(lengths: np.ndarray) -> Iterator[slice]:
    """Cut sequences, longest first, into runs of nearly equal length, so that little is padded."""
    start = 0
    while start < len(lengths) and lengths[start]:
        longest = int(lengths[start])
        stop = start + 1
        most = max(PAIRS // longest**2, 1)
        while (
            stop < len(lengths)
            and stop - start < most
            and lengths[stop] >= max(LENGTH_SLACK * longest, 1)
        ):
            stop += 1
        yield slice(start, stop)
        start = stop
