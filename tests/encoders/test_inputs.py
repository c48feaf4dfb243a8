"""Texts as encoders take them: one string is one text, and anything else is a clear TypeError."""

from __future__ import annotations

import numpy as np
import pytest

from mbert_retrieval import load_encoder
from mbert_retrieval.encoders import load_query_encoder

KINDS = ["torch", "numpy", "onnx"]
METHODS = ["encode_queries", "encode_documents"]
NOT_TEXTS = {
    "None": (None, "not NoneType"),
    "bytes": (b"hello", "not bytes"),
    "a number": (7, "not int"),
    "a dict": ({"text": "hello"}, "not dict"),
    "a set": ({"hello"}, "not set"),
    "a number in the list": (["hello", 3], r"texts\[1\] is int"),
    "bytes in the list": ([b"hello"], r"texts\[0\] is bytes"),
    "a nested list": ([["hello"]], r"texts\[0\] is list"),
}


@pytest.fixture(scope="module")
def encoders(tiny_encoder_folder, tmp_path_factory):
    encoder = load_encoder(tiny_encoder_folder)
    loaded = {"torch": encoder, "numpy": load_query_encoder(tiny_encoder_folder)}
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError:
        return loaded
    folder = tmp_path_factory.mktemp("inputs") / "onnx"
    encoder.export_onnx(folder)
    return loaded | {"onnx": load_encoder(folder)}


@pytest.fixture(params=KINDS)
def encoder(request, encoders):
    if request.param not in encoders:
        pytest.skip("onnx and onnxruntime are not installed")
    return encoders[request.param]


@pytest.mark.parametrize("method", METHODS)
def test_one_string_is_one_text(encoder, method):
    encode = getattr(encoder, method)
    vectors, listed = encode("hello world"), encode(["hello world"])
    assert len(vectors) == 1
    np.testing.assert_array_equal(vectors.values, listed.values)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("texts", [("a", "b c"), np.array(["a", "b c"])], ids=["tuple", "array"])
def test_any_sequence_of_strings(encoder, method, texts):
    encode = getattr(encoder, method)
    np.testing.assert_array_equal(encode(texts).values, encode(["a", "b c"]).values)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("texts", "reason"), NOT_TEXTS.values(), ids=NOT_TEXTS)
def test_what_is_no_text_is_a_type_error(encoder, method, texts, reason):
    with pytest.raises(TypeError, match=f"texts must be a string or a list of strings.*{reason}"):
        getattr(encoder, method)(texts)


def test_streaming_one_string_is_one_document(encoder):
    assert [len(chunk) for chunk in encoder.stream_documents("hello world")] == [1]


def test_streaming_refuses_what_is_no_collection_at_the_call(encoder):
    with pytest.raises(TypeError, match="not NoneType"):
        encoder.stream_documents(None)


def test_streaming_refuses_an_element_that_is_no_text(encoder):
    with pytest.raises(TypeError, match=r"texts\[1\] is NoneType"):
        list(encoder.stream_documents(iter(["hello", None])))


@pytest.mark.parametrize("load", [load_encoder, load_query_encoder])
def test_name_of_a_wrong_type(load):
    with pytest.raises(TypeError, match="name must be a string or a Path, not NoneType"):
        load(None)
