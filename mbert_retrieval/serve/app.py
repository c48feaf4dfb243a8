"""The service over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from .. import __version__
from ..errors import InputError, LockedError, NotFoundError, TimeLimitError
from . import models
from .guard import Guard
from .limits import MAX_QUERY_LENGTH, Overloaded
from .service import Service

STATIC = Path(__file__).parent / "static"
RETRY_LATER = {"Retry-After": "1"}

_PROBLEM = {"model": models.Problem}
_ERRORS: dict[int | str, dict[str, Any]] = {
    400: _PROBLEM | {"description": "This index cannot answer the request"},
    401: _PROBLEM | {"description": "The token is missing or wrong"},
    408: _PROBLEM | {"description": "The body did not arrive in time"},
    413: _PROBLEM | {"description": "The body is too large"},
    422: _PROBLEM | {"description": "The request does not have the described form"},
    503: _PROBLEM | {"description": "The service is too busy: try again"},
    504: _PROBLEM | {"description": "The search took too long: use a simpler filter"},
}
_NOT_FOUND: dict[int | str, dict[str, Any]] = {
    404: _PROBLEM | {"description": "There is no such passage or document"}
}
_LOCKED: dict[int | str, dict[str, Any]] = {
    409: _PROBLEM | {"description": "Another process writes to the index: try again"},
}

QueryText = Annotated[str, Query(min_length=1, max_length=MAX_QUERY_LENGTH, description="A query.")]
Id = Annotated[str, Query(description="Id of the passage.")]
DocumentPath = Annotated[str, Query(description="Path of the document, as its passages have it.")]


def make_app(service: Service, token: str | None = None) -> FastAPI:
    """Return the ASGI application, which starts the service and closes it.

    token: see `guard.Guard`.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        await service.close()

    app = FastAPI(
        title="mbert-search",
        summary="Search an index, and change it.",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages load scripts from elsewhere
        redoc_url=None,
    )
    app.add_middleware(Guard, limits=service.limits, metrics=service.metrics, token=token)
    _add_errors(app)
    _add_reads(app, service)
    _add_writes(app, service)
    _add_pages(app, service)
    return app


def _add_reads(app: FastAPI, service: Service) -> None:
    @app.get("/api/info", response_model=models.Info, responses=_ERRORS)
    async def info() -> Response:
        """Return what is served and how it can be searched."""
        return JSONResponse(await service.info())

    @app.post("/api/search", response_model=models.Hits, responses=_ERRORS)
    async def search(request: models.Search) -> Response:
        """Return the passages that answer best, best first."""
        return JSONResponse(await service.search(request.query, request.to_request()))

    @app.post("/api/explain", response_model=models.Explained, responses=_ERRORS | _NOT_FOUND)
    async def explain(request: models.Explain) -> Response:
        """Explain why a passage has its score: by leg, by token and by word."""
        answer = await service.explain(request.query, request.id, request.to_request())
        return JSONResponse(answer)

    @app.get("/api/spelling", response_model=models.Spelling, responses=_ERRORS)
    async def spelling(query: QueryText) -> Response:
        """Return the words of a query that no passage has, and words that resemble them."""
        return JSONResponse(await service.spelling(query))

    @app.get("/api/passage", response_model=models.StoredPassage, responses=_ERRORS | _NOT_FOUND)
    async def passage(id: Id) -> Response:
        """Return a passage as it is stored."""
        return JSONResponse(await service.passage(id))

    @app.get("/api/document", response_model=models.Document, responses=_ERRORS | _NOT_FOUND)
    async def document(path: DocumentPath) -> Response:
        """Return all passages of a file, in order, as they are stored; no file is read."""
        return JSONResponse(await service.document(path))


def _add_writes(app: FastAPI, service: Service) -> None:
    responses = _ERRORS | _LOCKED

    @app.post("/api/passages", response_model=models.Changed, responses=responses)
    async def add(request: models.Add) -> Response:
        """Add passages and replace those with the same ids: all of them, or none."""
        passages = [passage.to_passage() for passage in request.passages]
        return JSONResponse(await service.add(passages))

    @app.post("/api/delete", response_model=models.Changed, responses=responses | _NOT_FOUND)
    async def delete(request: models.Delete) -> Response:
        """Delete passages: all of them, or none where one does not exist."""
        return JSONResponse(await service.delete(request.ids))

    @app.post("/api/update", response_model=models.Changed, responses=responses)
    async def update() -> Response:
        """Bring the index in sync with the files that it was built from."""
        return JSONResponse(await service.update())


def _add_pages(app: FastAPI, service: Service) -> None:
    @app.get("/health", response_model=models.Health)
    async def health() -> Response:
        """Return whether the service answers."""
        return JSONResponse(service.health())

    @app.get("/ready", response_model=models.Ready, responses={503: _ERRORS[503]})
    async def ready() -> Response:
        """Return whether to send requests here: not while it stops or cannot read the index."""
        return JSONResponse(service.ready())

    @app.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {}}}, 401: _ERRORS[401], 503: _ERRORS[503]},
    )
    async def metrics() -> Response:
        """Return metrics for Prometheus."""
        return Response(service.metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return FileResponse(STATIC / "index.html")

    @app.get("/api.html", include_in_schema=False)
    async def api_page() -> Response:
        return FileResponse(STATIC / "api.html")

    app.mount("/static", StaticFiles(directory=STATIC))


def _add_errors(app: FastAPI) -> None:
    def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> Response:
        clean = detail.encode("utf-8", "replace").decode()  # it may quote a lone surrogate
        return JSONResponse({"detail": clean}, status, headers)

    @app.exception_handler(InputError)
    async def input_error(request: Request, error: InputError) -> Response:
        statuses = {NotFoundError: 404, TimeLimitError: 504}
        return problem(statuses.get(type(error), 400), str(error))

    @app.exception_handler(LockedError)
    async def locked(request: Request, error: LockedError) -> Response:
        return problem(409, str(error), RETRY_LATER)

    @app.exception_handler(Overloaded)
    async def overloaded(request: Request, error: Overloaded) -> Response:
        return problem(503, str(error), RETRY_LATER)

    @app.exception_handler(Exception)
    async def internal_error(request: Request, error: Exception) -> Response:
        return problem(500, "internal error of the service: its log has the traceback")

    @app.exception_handler(RequestValidationError)
    async def invalid_request(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        location = ".".join(map(str, first["loc"]))
        return problem(422, f"{location}: {first['msg']}")

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers) if error.headers else None
        return problem(error.status_code, str(error.detail), headers)
