"""Indexes to serve, and clients of services."""

from __future__ import annotations

import pytest

from support.serving import made_index

URL = "http://localhost"


@pytest.fixture(scope="session")
def index(tmp_path_factory, tiny_encoder_folder):
    """An index with a late leg and BM25, which no test changes."""
    return made_index(tmp_path_factory.mktemp("served") / "i", tiny_encoder_folder)


@pytest.fixture
def lexical_index(tmp_path):
    """An index with BM25 alone, which the test may change."""
    return made_index(tmp_path / "i")


@pytest.fixture(scope="session")
def connect():
    """A function that returns a client of a service, for a `with` block that runs the service."""
    pytest.importorskip("fastapi")
    from starlette.testclient import TestClient

    from mbert_retrieval.serve.app import make_app

    def connect(service, token=None, url=URL) -> TestClient:
        return TestClient(make_app(service, token), base_url=url)

    return connect


@pytest.fixture(scope="module")
def client(index, connect):
    """A client of an index that no test changes."""
    from mbert_retrieval.serve.service import Service

    with connect(Service(index, writable=False)) as client:
        yield client


@pytest.fixture
def writing_client(lexical_index, connect):
    """A client of an index that the test may change."""
    from mbert_retrieval.serve.service import Service

    with connect(Service(lexical_index)) as client:
        yield client
