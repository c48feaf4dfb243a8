"""Export to ONNX: against transformers, sentence-transformers and its ONNX backend."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mbert_retrieval import InputError, load_encoder
from mbert_retrieval.encoders import load_query_encoder
from mbert_retrieval.encoders.onnx_encoder import LENGTH_SLACK, PAIRS, rectangles
from support.st_models import EXPANSIONS, st_dense, st_late
from support.tiny_models import TEXTS, tiny_config, tiny_tokenizer

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")
pytestmark = pytest.mark.filterwarnings("ignore")
LONG = "parse the list of files, and write to the file how python returns it. " * 10
TOLERANCE = {"float32": 1e-5, "float16": 1e-2}


def cosines(mine, expected):
    norms = np.linalg.norm(mine, axis=1) * np.linalg.norm(expected, axis=1)
    return (mine * expected).sum(1) / norms


def assert_close(mine, expected, dtype):
    if dtype == "int8":
        assert cosines(mine, expected).min() > 0.98
    else:
        np.testing.assert_allclose(mine, expected, atol=TOLERANCE[dtype])


@pytest.fixture(scope="module")
def dense_reference(bare_folder):
    """A random model whose weights, unlike those of the other tests, are as small as real ones:
    quantisation is made for such."""
    from transformers import ModernBertModel

    torch.manual_seed(0)
    folder = bare_folder.parent / "small-weights"
    ModernBertModel(tiny_config(initializer_range=0.05)).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return st_dense(folder, pooling=("cls", "mean"), dense=1, include_prompt=False)


@pytest.fixture(scope="module", params=["float32", "float16", "int8"])
def dense_export(request, dense_reference, tmp_path_factory):
    """(type, the exported folder)"""
    folder = tmp_path_factory.mktemp("dense")
    dense_reference.save(str(folder / "theirs"))
    load_encoder(folder / "theirs").export_onnx(folder / "onnx", request.param)
    return request.param, folder / "onnx"


def test_dense(dense_export, dense_reference):
    dtype, folder = dense_export
    assert not list(folder.glob("*.safetensors"))
    texts = [*TEXTS, LONG]
    encoder = load_encoder(folder)
    assert (encoder.kind, encoder.dimension) == ("dense", 48)
    for mine, expected in (
        (encoder.encode_queries(texts), dense_reference.encode_query(texts)),
        (encoder.encode_documents(texts), dense_reference.encode_document(texts)),
    ):
        assert mine.values.dtype == np.float32
        assert_close(mine.values, expected, dtype)
    streamed = [v.values for v in encoder.stream_documents(iter(texts))]
    np.testing.assert_array_equal(np.concatenate(streamed), encoder.encode_documents(texts).values)


def test_sentence_transformers_runs_it(dense_export):
    """Where optimum-onnx is installed, which wants transformers 4."""
    pytest.importorskip("optimum.onnxruntime")
    from sentence_transformers import SentenceTransformer

    _, folder = dense_export
    theirs = SentenceTransformer(str(folder), backend="onnx", device="cpu")
    ours = load_encoder(folder)
    for text in TEXTS:  # one at a time: int8 takes its scales from the whole batch
        for mine, expected in (
            (ours.encode_queries([text]), theirs.encode_query([text])),
            (ours.encode_documents([text]), theirs.encode_document([text])),
        ):
            np.testing.assert_allclose(mine.values, expected, atol=1e-4)


@pytest.mark.parametrize("expansion", list(EXPANSIONS.values())[:3], ids=list(EXPANSIONS)[:3])
@pytest.mark.parametrize("skiplist", ["", ".,;:()"], ids=["all", "skiplist"])
def test_late(bare_folder, tmp_path, expansion, skiplist):
    reference = st_late(bare_folder, expansion, skiplist)
    reference._register_prefix_tokens({"query": "[Q] ", "document": "[D] "})
    reference.save(str(tmp_path / "theirs"))
    full = load_encoder(tmp_path / "theirs")
    full.export_onnx(tmp_path / "onnx")
    encoder = load_encoder(tmp_path / "onnx")
    assert (encoder.kind, encoder.dimension) == ("late", 32)
    for mine, expected in (
        (encoder.encode_queries(TEXTS), reference.encode_query(TEXTS, convert_to_numpy=True)),
        (encoder.encode_documents(TEXTS), reference.encode_document(TEXTS, convert_to_numpy=True)),
    ):
        assert mine.lengths.tolist() == [len(vectors) for vectors in expected]
        np.testing.assert_allclose(mine.values, np.concatenate(expected), atol=2e-5)
    pooled = load_encoder(tmp_path / "onnx", pool_factor=2).encode_documents(TEXTS)
    expected = load_encoder(tmp_path / "theirs", pool_factor=2).encode_documents(TEXTS)
    assert pooled.lengths.tolist() == expected.lengths.tolist()


@pytest.mark.parametrize("local_only", [False, True])
def test_the_graph_is_the_network(tmp_path, local_only):
    """Padded batches of any shape, biases everywhere, against transformers."""
    from transformers import ModernBertModel

    changes = {"layer_types": ["sliding_attention"] * 4} if local_only else {}
    torch.manual_seed(2)
    config = tiny_config(norm_bias=True, attention_bias=True, mlp_bias=True, **changes)
    network = ModernBertModel(config).eval()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.endswith("bias"):
                parameter.normal_()
    network.save_pretrained(tmp_path / "bare")
    tiny_tokenizer().save_pretrained(tmp_path / "bare")
    load_encoder(tmp_path / "bare").export_onnx(tmp_path / "onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "onnx" / "onnx" / "model.onnx"))
    generator = torch.Generator().manual_seed(3)
    for lengths in ([1], [300], [5, 90, 1, 40], [64, 64]):
        mask = (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]).long()
        ids = torch.randint(0, 256, mask.shape, generator=generator) * mask
        with torch.no_grad():
            expected = network(input_ids=ids, attention_mask=mask).last_hidden_state
        feed = {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}
        (mine,) = session.run(None, feed)
        real = mask.bool().numpy()
        np.testing.assert_allclose(mine[real], expected.numpy()[real], atol=5e-5)


def test_half_precision_stores_half(bare_folder, tmp_path):
    encoder = load_encoder(bare_folder)
    sizes = {}
    for dtype in ("float32", "float16", "int8"):
        encoder.export_onnx(tmp_path / dtype, dtype)
        sizes[dtype] = (tmp_path / dtype / "onnx" / "model.onnx").stat().st_size
        assert {p.name for p in (tmp_path / dtype / "onnx").iterdir()} == {"model.onnx"}
    assert sizes["float16"] < 0.6 * sizes["float32"]
    assert sizes["int8"] < 0.6 * sizes["float32"]


def test_identity(bare_folder, tmp_path):
    load_encoder(bare_folder).export_onnx(tmp_path / "a")
    load_encoder(bare_folder).export_onnx(tmp_path / "b")
    first = load_encoder(tmp_path / "a")
    assert first.fingerprint == load_encoder(tmp_path / "b").fingerprint
    assert first.fingerprint == load_query_encoder(tmp_path / "a").fingerprint
    assert first.fingerprint != load_encoder(tmp_path / "a", query_length=9).fingerprint
    path = tmp_path / "b" / "onnx" / "model.onnx"
    path.write_bytes(path.read_bytes() + b"\x7a\x00")  # one more field, empty
    assert first.fingerprint != load_encoder(tmp_path / "b").fingerprint


def test_torch_is_not_imported(bare_folder, tmp_path):
    load_encoder(bare_folder).export_onnx(tmp_path / "onnx")
    code = f"""
import sys
from mbert_retrieval.encoders import load_query_encoder
encoder = load_query_encoder({str(tmp_path / "onnx")!r})
encoder.encode_queries(["a list"]), encoder.fingerprint
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


@given(st.lists(st.integers(0, 9000), max_size=60), st.sampled_from([1, 2, 3000]))
def test_rectangles_cover_everything_and_pad_little(lengths, divisor):
    lengths = np.array(sorted((n // divisor for n in lengths), reverse=True), np.int64)
    batches = list(rectangles(lengths))
    covered = [i for batch in batches for i in range(batch.start, batch.stop)]
    assert covered == np.flatnonzero(lengths).tolist()
    for batch in batches:
        longest, shortest = lengths[batch].max(), lengths[batch].min()
        assert shortest >= LENGTH_SLACK * longest
        assert (batch.stop - batch.start) * longest**2 <= PAIRS or batch.stop - batch.start == 1


def refused(call):
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_refused(bare_folder, tmp_path, monkeypatch):
    encoder = load_encoder(bare_folder)
    assert "dtype must be one of" in refused(lambda: encoder.export_onnx(tmp_path / "x", "int4"))
    copy = shutil.copytree(bare_folder, tmp_path / "copy")
    assert "holds a model already" in refused(lambda: encoder.export_onnx(copy))
    folder = tmp_path / "onnx"
    encoder.export_onnx(folder)
    assert "runs on the CPU" in refused(lambda: load_encoder(folder, dtype=torch.bfloat16))
    graph = folder / "onnx" / "model.onnx"
    whole = graph.read_bytes()
    graph.write_bytes(whole[: len(whole) // 2])
    assert "cannot load it" in refused(lambda: load_encoder(folder))
    graph.write_bytes(whole)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert "mbert-retrieval[onnx]" in refused(lambda: load_query_encoder(folder))
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert "mbert-retrieval[onnx]" in refused(lambda: encoder.export_onnx(tmp_path / "y"))


def test_weights_outside_of_the_folder_are_not_read(bare_folder, tmp_path):
    """A graph may name files that hold its weights: not beyond its own folder."""
    import onnx
    from onnx import external_data_helper

    load_encoder(bare_folder).export_onnx(tmp_path / "export")
    path = tmp_path / "export" / "onnx" / "model.onnx"
    model = onnx.load(path)
    tensor = next(t for t in model.graph.initializer if len(t.raw_data) > 1000)
    (tmp_path / "secret").write_bytes(tensor.raw_data)
    external_data_helper.set_external_data(tensor, "../../secret")
    tensor.ClearField("raw_data")
    path.write_bytes(model.SerializeToString())
    assert "cannot load it" in refused(lambda: load_encoder(tmp_path / "export"))


def test_a_graph_of_another_network(bare_folder, tmp_path):
    import onnx

    encoder = load_encoder(bare_folder)
    encoder.export_onnx(tmp_path)
    path = tmp_path / "onnx" / "model.onnx"
    model = onnx.load(path)
    model.graph.output[0].name = model.graph.node[-1].output[0] = "logits"
    onnx.save(model, path)
    assert "gives ['logits']" in refused(lambda: load_encoder(tmp_path))
