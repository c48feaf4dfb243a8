"""What the metrics count."""

from __future__ import annotations

import pytest

from support.http import add, search
from support.serving import TEXTS

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")


@pytest.fixture
def metrics(writing_client):
    """Metrics after a search, a bad search, a strange method and a change."""
    search(writing_client, "connection")
    writing_client.post("/api/search", json={"query": ""})
    writing_client.request("MAGIC", "/health")
    add(writing_client, {"id": "z", "text": "a zebra"}, {"id": "g", "text": "a gnu"})
    lines = writing_client.get("/metrics").text.splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in values.items()}


def test_requests_are_counted_by_route_and_status(metrics):
    search = 'mbert_requests_total{method="POST",route="/api/search",status="%d"}'
    assert metrics[search % 200] == metrics[search % 422] == 1


def test_strange_methods_are_counted_together(metrics):
    others = [name for name in metrics if name.startswith('mbert_requests_total{method="other"')]
    assert len(others) == 1


def test_batches_are_counted(metrics):
    assert metrics["mbert_batch_size_count"] == 1


def test_the_index_is_measured(metrics):
    assert metrics["mbert_index_passages"] == len(TEXTS) + 2
    assert metrics["mbert_index_opened_total"] == 2


@pytest.mark.parametrize(("how", "count"), [("added", 2), ("updated", 0), ("deleted", 0)])
def test_changed_passages_are_counted(metrics, how, count):
    assert metrics[f'mbert_passages_changed_total{{how="{how}"}}'] == count


def test_requests_in_flight_are_counted(metrics):
    assert metrics["mbert_requests_in_flight"] == 1  # the one for the metrics
