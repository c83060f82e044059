"""The HTTP interface: routes from requests to the queue, and errors as problem details."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Annotated, Any

from fastapi import FastAPI, Request, Response
from fastapi import Path as PathParameter
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse

from pix2pix.data.io import images
from pix2pix.data.io.limits import MemoryShortError
from pix2pix.errors import DataError, ModelError
from pix2pix.serve import openapi
from pix2pix.serve.guard import Guard
from pix2pix.serve.media import SUFFIXES, choose_type
from pix2pix.serve.metrics import Metrics
from pix2pix.serve.options import Options
from pix2pix.serve.problems import PROBLEM_JSON, ProblemError, fault, retry_after, stopping
from pix2pix.serve.queue import TranslationQueue
from pix2pix.serve.served import ServedModel
from pix2pix.serve.uploads import (
    OVERHEAD,
    ClientGoneError,
    LimitedBody,
    receive_files,
    refuse_too_many_pixels,
    without_paths,
)

PAGE = Path(__file__).parent / "page"
"""Static files of the page."""
BODIES = 4
"""Bodies are received for so many times the places of the queue."""
PIXELS_TOGETHER = 2**24
"""Pixels that are decoded at the same time, unless one picture has more."""


@dataclass
class Service:
    """What the routes share."""

    models: Mapping[str, ServedModel]
    options: Options
    is_stopping: Callable[[], bool] = lambda: False
    metrics: Metrics = field(default_factory=Metrics)
    receiving: int = 0
    ready: bool = False

    def __post_init__(self) -> None:
        options = self.options
        pixels = max(PIXELS_TOGETHER, options.max_pixels)
        self.queue = TranslationQueue(options.queue, pixels, options.batch_size, self.metrics)

    @property
    def busy(self) -> bool:
        """Whether accepted requests wait for their answer."""
        return bool(self.queue.inside or self.receiving)

    def refuse_if_stopping(self) -> None:
        """Raise ProblemError (503) once the service was asked to stop."""
        if self.is_stopping():
            raise stopping()

    @contextmanager
    def receive(self) -> Iterator[None]:
        """Count a body that is being received within the block. Raises ProblemError (503) if there are too many."""
        if self.receiving >= BODIES * self.options.queue:
            raise ProblemError(
                503, "too-many-bodies", "too many requests arrive at once; try again later", {"Retry-After": "2"}
            )
        self.receiving += 1
        try:
            yield
        finally:
            self.receiving -= 1

    def find(self, name: str | None) -> ServedModel:
        """Return a model by name, by default the first. Raises ProblemError (404)."""
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            raise ProblemError(404, "unknown-model", f"no such model; expected {', '.join(self.models)}")
        return self.models[name]


def create_app(service: Service) -> Guard:
    """Build the service as an ASGI application."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with service.queue.running([model.engine for model in service.models.values()]):
            service.ready = True
            yield

    app = FastAPI(
        title="pix2pix",
        summary="Translate pictures with trained models.",
        version="1",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    _add_health(app, service)
    _add_models(app, service)
    _add_translate(app, service)
    if PAGE.is_dir():
        _add_page(app)
    app.add_exception_handler(HTTPException, _explain_http)
    app.add_exception_handler(RequestValidationError, _explain_validation)
    app.add_exception_handler(ProblemError, _explain)
    app.add_exception_handler(Exception, _explain_fault)
    options = service.options
    return Guard(app, service.metrics, {"localhost", options.host, *options.allow_host}, options.allow_origin)


# ---- routes ------------------------------------------------------------------------------------------------------


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/health/live", tags=["health"], summary="Whether the process answers")
    async def live() -> dict[str, str]:
        return {"status": "live"}

    @app.get("/health/ready", tags=["health"], summary="Whether requests are accepted", responses=openapi.problems(503))
    async def ready() -> dict[str, str]:
        service.refuse_if_stopping()
        if not service.ready:
            raise ProblemError(503, "starting", "the models are not loaded yet", {"Retry-After": "1"})
        return {"status": "ready"}

    @app.get("/metrics", tags=["health"], summary="Metrics for Prometheus", response_class=Response)
    async def metrics() -> Response:
        return Response(service.metrics.render(), media_type=CONTENT_TYPE_LATEST)


def _add_models(app: FastAPI, service: Service) -> None:
    names = PathParameter(json_schema_extra={"enum": list(service.models)})

    @app.get("/v1/models", tags=["models"], summary="The models and what they take", responses=openapi.MODELS)
    async def models() -> Response:
        limits = {"bytes": service.options.max_bytes, "pixels": service.options.max_pixels}
        return JSONResponse({"models": [{**model.description, "limits": limits} for model in service.models.values()]})

    @app.get(
        "/v1/models/{name}/examples/{number}/{file}",
        tags=["models"],
        summary="A picture to start from: source.png, source_2.png or target.png",
        responses=openapi.EXAMPLES,
        response_class=Response,
    )
    async def example(name: Annotated[str, names], number: int, file: str) -> Response:
        pictures = service.find(name).examples
        content = pictures[number].get(file) if 0 <= number < len(pictures) else None
        if content is None:
            raise ProblemError(404, "no-example", "no such example; GET /v1/models lists them")
        return Response(content, media_type="image/png", headers={"Cache-Control": "max-age=3600"})


def _add_translate(app: FastAPI, service: Service) -> None:
    forms = [[source.name for source in model.engine.facts.sources] for model in service.models.values()]

    @app.post("/v1/translate", **openapi.describe_translate(forms[:1]))
    async def translate(request: Request, query: openapi.TranslateQuery) -> Response:
        return await _translate(service, request, None, query)

    names = PathParameter(json_schema_extra={"enum": list(service.models)})

    @app.post("/v1/models/{name}/translate", **openapi.describe_translate(forms))
    async def translate_by(request: Request, name: Annotated[str, names], query: openapi.TranslateQuery) -> Response:
        return await _translate(service, request, name, query)


def _add_page(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def index() -> FileResponse:
        return FileResponse(PAGE / "index.html", headers={"Cache-Control": "no-cache"})

    app.mount("/page", StaticFiles(directory=PAGE), name="page")


# ---- translation -------------------------------------------------------------------------------------------------


async def _translate(service: Service, request: Request, name: str | None, query: openapi.Choices) -> Response:
    """Answer one request for a translation. The client's names and paths are never used."""
    options, facts = service.options, request.state.facts
    body = LimitedBody(request, options.max_bytes, options.deadline)
    try:
        service.refuse_if_stopping()
        model = service.find(name)
        names = [source.name for source in model.engine.facts.sources]
        if body.is_form:
            body.most = len(names) * options.max_bytes + OVERHEAD
        facts["model"] = model.name
        if query.seed is not None and not model.engine.facts.noise:
            raise ProblemError(422, "no-noise", "the model has no dropout, so there is one output only; leave seed out")
        target = model.engine.facts
        accept = ",".join(request.headers.getlist("accept"))
        kind = choose_type(accept, target.dtype, target.channels, exact=target.is_labels)
        service.queue.refuse_if_full()
        with tempfile.TemporaryDirectory(prefix="pix2pix-serve-") as folder:
            with service.receive():
                files = await receive_files(request, body, Path(folder), names)
            service.refuse_if_stopping()
            with service.queue.place():
                return await _with_deadline(service, request, _answer(service, model, files, query, kind, facts))
    except ProblemError as error:
        await body.drain()
        if not body.complete:  # what the client still sends must not be taken for its next request
            error.headers["Connection"] = "close"
        raise


async def _with_deadline(service: Service, request: Request, answer: Any) -> Response:
    """Await an answer until the deadline, or until the client has left. Raises ProblemError or ClientGoneError."""
    working, leaving = asyncio.ensure_future(answer), asyncio.ensure_future(_client_leaves(request))
    try:
        await asyncio.wait({working, leaving}, timeout=service.options.deadline, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        service.metrics.given_up.inc()
        if leaving.done():
            raise ClientGoneError
        raise ProblemError(
            504,
            "deadline",
            f"no output within {service.options.deadline:g} seconds; try again later, or with a smaller picture",
            {"Retry-After": retry_after(service.options.deadline)},
        )
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _client_leaves(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _answer(
    service: Service,
    model: ServedModel,
    files: Sequence[Path],
    query: openapi.Choices,
    kind: str,
    facts: dict[str, Any],
) -> Response:
    """Read, translate and encode."""
    began, queue = monotonic(), service.queue
    counting = queue.with_files(refuse_too_many_pixels, files, service.options.max_pixels, model.engine.seen_size)
    pixels = await _reading(counting, files)
    async with queue.budget.hold(pixels):
        source = await _reading(queue.with_files(model.engine.read, files, query.half), files)
        try:
            output, in_model = await queue.translate(model.engine, source, query.seed)
        except ValueError as error:
            raise ProblemError(422, "no-output", f"the model gives no picture for it ({error})") from None
        content = await queue.with_files(_encode, SUFFIXES[kind], output, model)
    elsewhere = monotonic() - began - in_model
    service.metrics.model.labels(model.name).observe(in_model)
    service.metrics.queued.observe(elsewhere)
    service.metrics.pictures.labels(model.name).inc()
    facts |= {"model_ms": round(1000 * in_model, 1), "bytes": len(content)}
    timing = f"model;dur={1000 * in_model:.1f}, queue;dur={1000 * elsewhere:.1f}"
    return Response(content, media_type=kind, headers={"Server-Timing": timing, "Cache-Control": "no-store"})


def _encode(suffix: str, output: Any, model: ServedModel) -> bytes:
    return images.encode(suffix, output, palette=model.engine.facts.palette)


async def _reading(work: Any, files: Sequence[Path]) -> Any:
    """Await work on the client's files, and turn what is wrong with them into problems."""
    try:
        return await work
    except MemoryShortError:
        raise ProblemError(
            503, "no-memory", "there is not enough memory for this picture now", {"Retry-After": "5"}
        ) from None
    except (DataError, ModelError) as error:
        raise ProblemError(422, "unusable-picture", without_paths(error, files)) from None


# ---- errors of the framework -------------------------------------------------------------------------------------


async def _explain(request: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError)
    return Response(error.body(request.state.request_id), error.status, error.headers, PROBLEM_JSON)


async def _explain_fault(request: Request, _: Exception) -> Response:
    return await _explain(request, fault())


async def _explain_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kinds = {404: ("not-found", "no such address"), 405: ("bad-method", "this method is not allowed here")}
    kind, detail = kinds.get(error.status_code, ("refused", str(error.detail)))
    return await _explain(request, ProblemError(error.status_code, kind, detail, error.headers))


async def _explain_validation(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "extra_forbidden":
        first["msg"] = f"no such parameter; expected {' or '.join(openapi.Choices.model_fields)}"
    return await _explain(request, ProblemError(422, "bad-parameter", f"{first['loc'][-1]}: {first['msg']}"))
