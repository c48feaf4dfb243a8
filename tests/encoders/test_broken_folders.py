"""Encoder folders with ill-formed settings and files: one clear line at once, before any memory is
taken for what they claim."""

from __future__ import annotations

import json
import resource
import shutil
import struct
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mbert_retrieval import InputError, load_encoder
from mbert_retrieval.encoders import load_query_encoder

SECONDS = 5  # of a test machine that does other things as well; each takes a few milliseconds
MEMORY = 2**29  # what loading may take in addition
DEEP = "[" * 200_000 + "]" * 200_000
NAN, INF = float("nan"), float("inf")
SLIDING, FULL = "sliding_attention", "full_attention"


def setting(file, **values):
    """A change of a JSON file's settings; None removes one."""

    def change(folder):
        path = folder / file
        raw = json.loads(path.read_text()) if path.is_file() else {}
        raw = {key: value for key, value in (raw | values).items() if value is not None}
        path.write_text(json.dumps(raw))

    return change


def config(**values):
    return setting("config.json", **values)


def content(file, text):
    """Replace a file's content."""
    return lambda folder: (folder / file).write_bytes(
        text if isinstance(text, bytes) else text.encode()
    )


def weights(file="model.safetensors", **arrays):
    """A change of tensors; "." in names is written "__", None removes a tensor."""

    def change(folder):
        path = folder / file
        tensors = load_file(path)
        for name, array in arrays.items():
            name = name.replace("__", ".")
            if array is None:
                del tensors[name]
            else:
                tensors[name] = array(tensors.get(name))
        save_file(tensors, path)

    return change


def header(change_header):
    """A change of the header of the weights' file, whose data stay."""

    def change(folder):
        path = folder / "model.safetensors"
        data = path.read_bytes()
        size = struct.unpack("<Q", data[:8])[0]
        raw = json.loads(data[8 : 8 + size])
        raw = change_header(raw)
        raw = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
        path.write_bytes(struct.pack("<Q", len(raw)) + raw + data[8 + size :])

    return change


def entry(name="final_norm.weight", **values):
    return header(lambda raw: raw | {name: raw[name] | values})


def sharded(weight_map):
    def change(folder):
        (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
        raw = weight_map if isinstance(weight_map, bytes) else json.dumps(weight_map).encode()
        (folder / "model.safetensors.index.json").write_bytes(raw)

    return change


def modules(*entries):
    return content("modules.json", json.dumps(entries))


def module(kind, path=""):
    return {"type": f"sentence_transformers.models.{kind}", "path": path}


def dense(*changes):
    """The folder as a dense encoder with mean pooling, with changes."""

    def change(folder):
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling/config.json").write_text('{"pooling_mode": "mean"}')
        setting("config_sentence_transformers.json", model_type="SentenceTransformer")(folder)
        modules(module("Transformer"), module("Pooling", "1_Pooling"), module("Dense", "1_Dense"))(
            folder
        )
        for each in changes:
            each(folder)

    return change


def together(*changes):
    return lambda folder: [change(folder) for change in changes]


LATE = "config_sentence_transformers.json"
CASES = {
    # config.json
    "hidden_size 10**9": config(hidden_size=10**9),
    "hidden_size 10**400": config(hidden_size=10**400),
    "hidden_size as text": config(hidden_size="64"),
    "hidden_size true": config(hidden_size=True),
    "hidden_size 64.0": config(hidden_size=64.0),
    "hidden_size list": config(hidden_size=[64]),
    "intermediate_size 10**9": config(intermediate_size=10**9),
    "layers 10**6": config(num_hidden_layers=10**6, layer_types=None),
    "layers 10**6 of types": config(num_hidden_layers=10**6, layer_types=[FULL] * 10**6),
    "layers 10**12": config(num_hidden_layers=10**12, layer_types=None),
    "layers as text": config(num_hidden_layers="4", layer_types=None),
    "layers 0": config(num_hidden_layers=0, layer_types=None),
    "layers -1": config(num_hidden_layers=-1, layer_types=None),
    "layers true": config(num_hidden_layers=True, layer_types=None),
    "layers null": config(num_hidden_layers=[None], layer_types=None),
    "layer_types [{}]": config(layer_types=[{}, {}, {}, {}]),
    "layer_types text": config(layer_types=FULL),
    "layer_types number": config(layer_types=4),
    "layer_types mixed": config(layer_types=[FULL, 1, None, SLIDING]),
    "every 0": config(layer_types=None, global_attn_every_n_layers=0),
    "every text": config(layer_types=None, global_attn_every_n_layers="3"),
    "every negative": config(layer_types=None, global_attn_every_n_layers=-3),
    "heads 0": config(num_attention_heads=0),
    "heads 3": config(num_attention_heads=3),
    "heads 64": config(num_attention_heads=64),
    "heads text": config(num_attention_heads="4"),
    "eps nan": config(norm_eps=NAN),
    "eps inf": config(norm_eps=INF),
    "eps negative": config(norm_eps=-1e-5),
    "eps text": config(norm_eps="1e-5"),
    "eps list": config(norm_eps=[]),
    "theta 0": config(rope_parameters={FULL: {"rope_theta": 0}}),
    "theta negative": config(rope_parameters={FULL: {"rope_theta": -1.0}}),
    "theta nan": config(rope_parameters={SLIDING: {"rope_theta": NAN}}),
    "theta inf": config(rope_parameters={SLIDING: {"rope_theta": INF}}),
    "theta text": config(rope_parameters={FULL: {"rope_theta": "many"}}),
    "theta list": config(rope_parameters={FULL: {"rope_theta": [1]}}),
    "theta of version 4": config(rope_parameters=None, global_rope_theta="x"),
    "rope_parameters list": config(rope_parameters=[1]),
    "rope_parameters of text": config(rope_parameters={FULL: "default"}),
    "rope_type dict": config(rope_parameters={FULL: {"rope_type": {}}}),
    "vocab_size 10**9": config(vocab_size=10**9),
    "vocab_size other": config(vocab_size=255),
    "window 0": config(local_attention=0),
    "window negative": config(local_attention=-128),
    "window huge": config(local_attention=10**30),
    "window text": config(local_attention="16"),
    "positions text": config(max_position_embeddings="many"),
    "positions 0": config(max_position_embeddings=0),
    "positions huge": config(max_position_embeddings=10**30),
    "activation": config(hidden_activation="quick_gelu"),
    "activation dict": config(hidden_activation={"a": 1}),
    "bias text": config(attention_bias="yes"),
    "norm_bias number": config(norm_bias=1),
    "labels": config(num_labels=-1),
    "id2label number": config(id2label=7),
    "model_type list": config(model_type=["modernbert"]),
    "architectures number": config(architectures=7),
    "config deep": content("config.json", DEEP),
    "config deep inside": content("config.json", '{"model_type": ' + DEEP + "}"),
    "config of 5,000 digits": content("config.json", '{"hidden_size": ' + "9" * 5000 + "}"),
    "config list": content("config.json", "[]"),
    "config no UTF-8": content("config.json", b'{"model_type": "\xff"}'),
    "config empty": content("config.json", ""),
    # modules.json
    "modules deep": content("modules.json", DEEP),
    "modules number": content("modules.json", "7"),
    "modules text": content("modules.json", '"abc"'),
    "modules dict": content("modules.json", '{"a": 1}'),
    "modules outside": modules(module("Transformer"), module("Dense", "../../../etc")),
    "modules NUL": modules(module("Transformer"), module("Dense", "a\0b")),
    "modules surrogate": modules(module("Transformer"), module("Dense", "\ud800")),
    "modules long path": modules(module("Transformer"), module("Dense", "a" * 5000)),
    "modules unknown": modules(module("Transformer"), module("LSTM")),
    "modules without Dense": modules(module("Transformer")),
    "modules of lists": modules([1]),
    "modules without its folder": modules(module("Transformer"), module("Dense", "2_Dense")),
    # tokenizer
    "tokenizer deep": content("tokenizer.json", DEEP),
    "tokenizer object deep": content("tokenizer.json", '{"model": ' + DEEP + "}"),
    "tokenizer empty": content("tokenizer.json", "{}"),
    "tokenizer_config deep": content("tokenizer_config.json", DEEP),
    "tokenizer_config token list": together(
        setting("tokenizer_config.json", mask_token=[1]),
        setting("config_sentence_transformers.json", do_query_expansion=True),
    ),
    "tokenizer max length text": together(
        setting("tokenizer_config.json", model_max_length="many"),
        setting("sentence_bert_config.json", max_seq_length=None),
    ),
    # lengths
    "max_seq_length text": setting("sentence_bert_config.json", max_seq_length="many"),
    "max_seq_length negative": setting("sentence_bert_config.json", max_seq_length=-1),
    "max_seq_length nan": setting("sentence_bert_config.json", max_seq_length=NAN),
    "max_seq_length list": setting("sentence_bert_config.json", max_seq_length=[1]),
    # ColBERT's settings
    "query_length text": setting(LATE, query_length="many"),
    "query_length negative": setting(LATE, query_length=-32),
    "document_length inf": setting(LATE, document_length=INF),
    "skiplist number": setting(LATE, skiplist_words=7),
    "skiplist of lists": setting(LATE, skiplist_words=[[1]]),
    "prefix number": setting(LATE, query_prefix=7),
    "prefix list": setting(LATE, document_prefix=["[D] "]),
    "prompts list": setting(LATE, prompts=["query"]),
    "prompts of numbers": setting(LATE, prompts={"query": 7}),
    "model_type unknown": setting(LATE, model_type={"a": 1}),
    "expansion huge": setting(LATE, do_query_expansion=True, query_length=10**12),
    "expansion list": setting(LATE, query_expansion=[1]),
    "expansion without length": setting(LATE, query_expansion={"token": "[MASK]"}),
    "expansion token": setting(LATE, query_expansion={"token": 7, "length": 8}),
    "settings deep": content(LATE, DEEP),
    # dense layers
    "Dense out 10**9": setting("1_Dense/config.json", out_features=10**9),
    "Dense out 10**400": setting("1_Dense/config.json", out_features=10**400),
    "Dense out negative": setting("1_Dense/config.json", out_features=-1),
    "Dense out 0": setting("1_Dense/config.json", out_features=0),
    "Dense out text": setting("1_Dense/config.json", out_features="32"),
    "Dense out true": setting("1_Dense/config.json", out_features=True),
    "Dense out inf": setting("1_Dense/config.json", out_features=INF),
    "Dense in other": setting("1_Dense/config.json", in_features=63),
    "Dense in without": setting("1_Dense/config.json", in_features=None),
    "Dense activation": setting("1_Dense/config.json", activation_function="os.system"),
    "Dense does not fit": together(
        setting("1_Dense/config.json", in_features=48),
        weights("1_Dense/model.safetensors", linear__weight=lambda old: old[:, :48].copy()),
    ),
    "Dense without weights": lambda folder: (folder / "1_Dense/model.safetensors").unlink(),
    "Dense nan": weights(
        "1_Dense/model.safetensors", linear__weight=lambda old: np.full_like(old, NAN)
    ),
    "Dense deep": content("1_Dense/config.json", DEEP),
    # pooling
    "pooling unknown": dense(setting("1_Pooling/config.json", pooling_mode="median")),
    "pooling number": dense(setting("1_Pooling/config.json", pooling_mode=7)),
    "pooling of lists": dense(setting("1_Pooling/config.json", pooling_mode=[["mean"]])),
    "pooling empty": dense(setting("1_Pooling/config.json", pooling_mode=[])),
    "pooling deep": dense(content("1_Pooling/config.json", DEEP)),
    "poolings do not fit": dense(setting("1_Pooling/config.json", pooling_mode=["mean", "cls"])),
    "truncate_dim text": dense(setting(LATE, truncate_dim="32")),
    "truncate_dim negative": dense(setting(LATE, truncate_dim=-5)),
    "default prompt list": dense(setting(LATE, default_prompt_name=["a"], prompts={"a": "b"})),
    "dense prompts number": dense(setting(LATE, prompts=7)),
    "dense prompts of numbers": dense(setting(LATE, prompts={"query": 7})),
    "pool_factor": together(
        modules(
            module("Transformer"),
            module("Dense", "1_Dense"),
            module("HierarchicalTokenPooling", "2_Pool"),
        ),
        lambda folder: (folder / "2_Pool").mkdir(),
        setting("2_Pool/config.json", pool_factor="x"),
    ),
    "pool_factor nan": together(
        modules(
            module("Transformer"),
            module("Dense", "1_Dense"),
            module("HierarchicalTokenPooling", "2_Pool"),
        ),
        lambda folder: (folder / "2_Pool").mkdir(),
        setting("2_Pool/config.json", pool_factor=NAN),
    ),
    # weights
    "header overlaps": entry(data_offsets=[0, 256]),
    "header beyond the end": entry(data_offsets=[10**15, 10**15 + 256]),
    "header negative": entry(data_offsets=[-256, 0]),
    "header falling": entry(data_offsets=[256, 0]),
    "header shape huge": entry(shape=[10**15]),
    "header shape overflow": entry(shape=[2**32, 2**32]),
    "header dtype": entry(dtype="F7"),
    "header int": entry(dtype="I32"),
    "header deep": header(lambda raw: DEEP.encode()),
    "header list": header(lambda raw: b"[]"),
    "header length": content("model.safetensors", struct.pack("<Q", 2**63) + b"{}"),
    "header length 2**40": content("model.safetensors", struct.pack("<Q", 2**40) + b"{}"),
    "weights empty": content("model.safetensors", b""),
    "weights missing": lambda folder: (folder / "model.safetensors").unlink(),
    "weights folder": lambda folder: (
        (folder / "model.safetensors").unlink(),
        (folder / "model.safetensors").mkdir(),
    ),
    "weights nan": weights(final_norm__weight=lambda old: np.full_like(old, NAN)),
    "weights inf": weights(layers__1__mlp__Wi__weight=lambda old: np.full_like(old, INF)),
    "weights one nan": weights(
        embeddings__tok_embeddings__weight=lambda old: np.where(
            np.arange(64) == 7, NAN, old
        ).astype(np.float32)
    ),
    "weights of integers": weights(final_norm__weight=lambda old: old.astype(np.int64)),
    "weights lack a layer": weights(layers__2__mlp_norm__weight=None),
    "shards outside": sharded({"weight_map": {"a": "../../etc/passwd"}}),
    "shards absolute": sharded({"weight_map": {"a": "/etc/passwd"}}),
    "shards missing": sharded({"weight_map": {"a": "model-00002-of-00002.safetensors"}}),
    "shards mixed": sharded({"weight_map": {"a": "x.safetensors", "b": 7}}),
    "shards of lists": sharded({"weight_map": {"a": ["x.safetensors"]}}),
    "shards list": sharded({"weight_map": ["x.safetensors"]}),
    "shards NUL": sharded({"weight_map": {"a": "x\0.safetensors"}}),
    "shards none": sharded({"weight_map": {}}),
    "shards no map": sharded({}),
    "shards deep": sharded(DEEP.encode()),
    "shards long name": sharded({"weight_map": {"a": "x" * 5000}}),
    # other formats
    "Stanford without projection": config(architectures=["HF_ColBERT"]),
    "Stanford deep": together(
        config(architectures=["HF_ColBERT"]),
        weights(linear__weight=lambda old: np.zeros((32, 64), np.float32)),
        content("artifact.metadata", DEEP),
    ),
    "Stanford lengths": together(
        config(architectures=["HF_ColBERT"]),
        weights(linear__weight=lambda old: np.zeros((32, 64), np.float32)),
        content("artifact.metadata", '{"query_maxlen": "many"}'),
    ),
    "Stanford marker": together(
        config(architectures=["HF_ColBERT"]),
        weights(linear__weight=lambda old: np.zeros((32, 64), np.float32)),
        content("artifact.metadata", '{"query_token_id": 7}'),
    ),
    "Stanford width": together(
        config(architectures=["HF_ColBERT"]),
        weights(linear__weight=lambda old: np.zeros((32, 63), np.float32)),
    ),
    "ONNX empty": lambda folder: (
        (folder / "model.safetensors").unlink(),
        (folder / "onnx").mkdir(),
        (folder / "onnx/model.onnx").write_bytes(b""),
    ),
    "ONNX bytes": lambda folder: (
        (folder / "model.safetensors").unlink(),
        (folder / "onnx").mkdir(),
        (folder / "onnx/model.onnx").write_bytes(bytes(range(256)) * 40),
    ),
}


@pytest.fixture
def folder(tiny_encoder_folder, tmp_path):
    return shutil.copytree(tiny_encoder_folder, tmp_path / "encoder")


@pytest.fixture
def bounded_memory():
    """The address space may grow by MEMORY."""
    with open("/proc/self/statm") as file:
        size = int(file.read().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


# what is no finite number is not looked for at each query: such weights never make an index
ONLY_TORCH = {"weights nan", "weights inf", "weights one nan", "Dense nan"}


@pytest.mark.parametrize(
    ("name", "load"),
    [(name, load_encoder) for name in CASES]
    + [(name, load_query_encoder) for name in CASES if name not in ONLY_TORCH],
)
def test_a_broken_folder_is_refused_in_one_line_at_once(name, load, folder, bounded_memory):
    CASES[name](folder)
    started = time.perf_counter()
    with pytest.raises(InputError) as refusal:
        load(folder)
    assert time.perf_counter() - started < SECONDS
    message = str(refusal.value)
    assert str(folder) in message
    assert "\n" not in message
    assert len(message) < 600 + message.count(str(folder)) * len(str(folder))


@pytest.mark.parametrize("name", ["hidden_size 10**9", "layers 10**6", "tokenizer deep"])
def test_the_command_prints_that_line_and_leaves_no_index(name, folder, tmp_path):
    CASES[name](folder)
    (tmp_path / "a.py").write_text("def a(): pass\n")
    command = [sys.executable, "-m", "mbert_retrieval.cli.index", "build", str(tmp_path / "a.py")]
    options = ["--index", str(tmp_path / "i"), "--encoder", str(folder)]
    ended = subprocess.run([*command, *options], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2, ended.stderr
    (line,) = ended.stderr.splitlines()
    assert str(folder) in line
    assert not (tmp_path / "i").exists()


@pytest.mark.parametrize(
    "change",
    [
        config(norm_eps=1, global_rope_theta=160_000, pad_token_id=None),
        setting("tokenizer_config.json", model_max_length=10**30),
        setting("sentence_bert_config.json", max_seq_length=None),
        setting("sentence_bert_config.json", max_seq_length=128.0),
        setting("config_sentence_transformers.json", prompts={"query": None}),
    ],
)
def test_unusual_settings_that_mean_something_are_read(change, folder):
    change(folder)
    assert len(load_encoder(folder).encode_queries("read")) == 1
