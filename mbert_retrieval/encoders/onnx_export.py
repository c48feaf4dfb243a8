"""Export to ONNX: the network as a graph, beside the files that sentence-transformers reads.

The graph is built node by node, so it contains what the network does and nothing else. It takes
padded batches, as every ONNX backend feeds them: `input_ids` and `attention_mask`, (B, L) int64
each, any B and L. It returns `last_hidden_state`, (B, L, hidden) float32. Pooling and projections
stay outside, in the folder's modules. Local layers mask the scores of all pairs, so time and memory
grow with L squared.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backbone.config import ModernBertConfig
from ..errors import InputError
from .spec import ONNX_GRAPH
from .write import WritableEncoder, write_settings

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET, IR_VERSION = 20, 10  # the first with Gelu; onnxruntime from 1.18 on reads both
DTYPES = ("float32", "float16", "int8")
MASKED = np.float32(-1e9)


def export_onnx(encoder: WritableEncoder, folder: Path, dtype: str = "float32") -> None:
    """Write an encoder as a folder for ONNX Runtime; see `Encoder.export_onnx`."""
    if dtype not in DTYPES:
        raise InputError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}")
    try:
        import onnx

        if dtype == "int8":
            from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError as error:
        raise InputError(
            f"exporting to ONNX needs the package {error.name}: pip install 'mbert-retrieval[onnx]'"
        ) from error
    weights = {
        name: tensor.detach().float().cpu().numpy()
        for name, tensor in encoder.backbone.state_dict().items()
    }
    path = folder / ONNX_GRAPH
    if any((folder / name).exists() for name in ("model.safetensors", "config.json")):
        raise InputError(f"{folder} holds a model already: choose another folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_settings(encoder, folder)
    if dtype != "int8":
        onnx.save(build_graph(encoder.backbone.config, weights, dtype == "float16"), path)
        return
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        plain = Path(scratch) / "model.onnx"
        model = build_graph(encoder.backbone.config, weights, half_matrices=False)
        # onnxruntime advises its graph clean-up otherwise, of which this graph has no need
        onnx.helper.set_model_props(model, {"onnx.quant.pre_process": "onnxruntime.quant"})
        onnx.save(model, plain)
        quantize_dynamic(
            plain,
            path,
            op_types_to_quantize=["MatMul"],  # those with weights; attention's stay in float32
            per_channel=True,
            reduce_range=True,  # 7 bits: 8 overflow in the kernels of processors without VNNI
            weight_type=QuantType.QInt8,
        )


class Graph:
    """Nodes and constants of a graph, in the order in which they were added."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Any) -> str:
        """Add a constant; return its name."""
        from onnx import numpy_helper

        name = f"constant{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node; return its output's name, or a list of names when it has several."""
        from onnx import helper

        names = [f"{kind}{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def matrix(self, value: np.ndarray, half: bool) -> str:
        """Add a float32 matrix, stored in float16 where `half` is set; return its name."""
        from onnx import TensorProto

        if not half:
            return self.constant(value)
        return self.add("Cast", self.constant(value.astype(np.float16)), to=TensorProto.FLOAT)


def build_graph(
    config: ModernBertConfig, weights: dict[str, np.ndarray], half_matrices: bool
) -> ModelProto:
    """Build the network's graph.

    Args:
        config: The network's shape.
        weights: Its float32 tensors, as `ModernBert.state_dict` names them.
        half_matrices: Store matrices in float16; everything is computed in float32 all the same.

    Returns:
        The ONNX model.
    """
    from onnx import TensorProto, helper

    graph = Graph()
    add, constant = graph.add, graph.constant
    ids, mask, output = "input_ids", "attention_mask", "last_hidden_state"
    width, heads, head_dim = config.hidden_size, config.num_attention_heads, config.head_dim

    def norm(x: str, name: str) -> str:
        inputs = [x, constant(weights[f"{name}.weight"])]
        if f"{name}.bias" in weights:
            inputs.append(constant(weights[f"{name}.bias"]))
        return add("LayerNormalization", *inputs, epsilon=config.norm_eps)

    def linear(x: str, name: str) -> str:
        y = add("MatMul", x, graph.matrix(weights[f"{name}.weight"].T, half_matrices))
        bias = weights.get(f"{name}.bias")
        return y if bias is None else add("Add", y, constant(bias))

    # what all layers share: positions, their rotations, and which tokens attend to which
    zero, one = constant(np.int64(0)), constant(np.int64(1))
    length = add("Gather", add("Shape", ids), one)  # ()
    positions = add("Range", zero, length, one)  # (L,)
    column, row = (add("Unsqueeze", positions, constant([axis])) for axis in (1, 0))
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    rotations = {}
    for is_global in set(config.global_layers):
        theta = np.float32(config.global_rope_theta if is_global else config.local_rope_theta)
        frequencies = constant(np.float32(1) / theta**exponents)
        angles = add("Mul", add("Cast", column, to=TensorProto.FLOAT), frequencies)
        rotations[is_global] = add("Cos", angles), add("Sin", angles)  # (L, head_dim / 2) each
    real = add("Cast", add("Unsqueeze", mask, constant([1, 2])), to=TensorProto.BOOL)
    distance = add("Abs", add("Sub", column, row))
    near = add("LessOrEqual", distance, constant(np.int64(config.window)))  # (L, L)
    visible = {True: real, False: add("And", real, near)}  # (B, 1, 1 or L, L)

    def attention(x: str, name: str, is_global: bool) -> str:
        qkv = add("Reshape", linear(x, f"{name}.Wqkv"), constant([0, 0, 3, heads, head_dim]))
        qkv = add("Transpose", qkv, perm=[2, 0, 3, 1, 4])  # (3, B, heads, L, head_dim)
        pair, v = add("Split", qkv, constant([2, 1]), outputs=2, axis=0)
        first, second = add("Split", pair, outputs=2, axis=-1, num_outputs=2)
        cos, sin = rotations[is_global]
        rotated = add(
            "Concat",
            add("Sub", add("Mul", first, cos), add("Mul", second, sin)),
            add("Add", add("Mul", second, cos), add("Mul", first, sin)),
            axis=-1,
        )
        q, k = add("Split", rotated, outputs=2, axis=0, num_outputs=2)
        leading = constant([0])
        q, k, v = (add("Squeeze", part, leading) for part in (q, k, v))
        q = add("Mul", q, constant(np.float32(head_dim**-0.5)))
        scores = add("MatMul", q, add("Transpose", k, perm=[0, 1, 3, 2]))  # (B, heads, L, L)
        scores = add("Where", visible[is_global], scores, constant(MASKED))
        probabilities = add("Softmax", scores, axis=-1)
        if not is_global:  # a token whose whole window is masked attends to nothing
            probabilities = add("Where", visible[False], probabilities, constant(np.float32(0)))
        mixed = add("Transpose", add("MatMul", probabilities, v), perm=[0, 2, 1, 3])
        return linear(add("Reshape", mixed, constant([0, 0, width])), f"{name}.Wo")

    table = weights["embeddings.tok_embeddings.weight"].astype(np.float16)
    exact = not half_matrices and not np.array_equal(
        table.astype(np.float32), weights["embeddings.tok_embeddings.weight"]
    )
    if exact:
        x = add("Gather", constant(weights["embeddings.tok_embeddings.weight"]), ids)
    else:
        x = add("Cast", add("Gather", constant(table), ids), to=TensorProto.FLOAT)
    x = norm(x, "embeddings.norm")
    for i, is_global in enumerate(config.global_layers):
        name = f"layers.{i}"
        normed = norm(x, f"{name}.attn_norm") if i else x
        x = add("Add", x, attention(normed, f"{name}.attn", is_global))
        inner = linear(norm(x, f"{name}.mlp_norm"), f"{name}.mlp.Wi")
        a, gate = add("Split", inner, outputs=2, axis=-1, num_outputs=2)
        x = add("Add", x, linear(add("Mul", add("Gelu", a), gate), f"{name}.mlp.Wo"))
    x = norm(x, "final_norm")
    graph.nodes.append(helper.make_node("Identity", [x], [output]))

    shape: list[Any] = ["batch", "length"]
    proto = helper.make_graph(
        graph.nodes,
        "ModernBERT",
        [helper.make_tensor_value_info(n, TensorProto.INT64, shape) for n in (ids, mask)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, [*shape, width])],
        graph.constants,
    )
    return helper.make_model(
        proto, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
    )
