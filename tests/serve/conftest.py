"""Indexes to serve, and clients of services."""

from __future__ import annotations

import shutil
from contextlib import contextmanager

import pytest

from support.serving import made_index, served

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


@pytest.fixture(scope="module")
def browser():
    """Chromium; skips where there is none.

    It ends with a file's tests: while it runs, those of other files cannot run an event loop.
    """
    pytest.importorskip("fastapi")
    playwright = pytest.importorskip("playwright.sync_api")
    playwright.expect.set_options(timeout=20_000)
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium here")
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture(scope="module")
def service_url(browser, index):
    """The address of a service of `index`, in a process of its own."""
    with served(index) as (url, _):
        yield url


@pytest.fixture(scope="module")
def watched(browser):
    """A function that returns a page for a `with` block, which fails for an error in the page or
    for a request elsewhere than to its service."""

    @contextmanager
    def watched(url, **options):
        origin = url.partition("/#")[0]
        context = browser.new_context(**options)
        page = context.new_page()
        page.set_default_timeout(20_000)
        troubles: list[str] = []
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda line: line.type == "error" and troubles.append(line.text))
        page.on(
            "request",
            lambda request: request.url.startswith(origin) or troubles.append(request.url),
        )
        page.goto(url)
        yield page
        context.close()
        assert troubles == []

    return watched


@pytest.fixture
def page(watched, service_url):
    """The search page of `index`."""
    with watched(service_url) as page:
        yield page
