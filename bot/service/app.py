"""The application: routes behind authentication and limits, over the parts of one server."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio.to_thread
from fastapi import FastAPI

from bot.service.access import Scope
from bot.service.limits import Authentication, BodyLimit, HostCheck, RateLimit, SecurityHeaders
from bot.service.methods import DocumentedMethods
from bot.service.problems import install
from bot.service.routes import home, jobs, models, pages, predictions, system
from bot.service.views.system import Measured

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from bot.service.context import Service

__all__ = ["OPEN_PATHS", "create_app"]

OPEN_PATHS = frozenset({"/api/health"}) | pages.OPEN_PAGES
"""What is answered without a token."""

_THREADS = 4  # requests that are worked on at once: more contend for two cores, and each opens the database
_TITLE = "Machine-learning trading bot"
_ABOUT = (
    "Predictions, models and the state of a home. Send a token as `Authorization: Bearer TOKEN`; tokens that may only read "
    "get 403 where something would change. Errors are problem details after RFC 9457; times are ISO 8601 in UTC."
)
_TAGS = {
    "predictions": "What a model says of the newest closed candle",
    "models": "What is registered, training, promotion",
    "jobs": "Work in the background",
    "market": "Stored candles",
    "runs": "Backtests, side by side",
    "live": "Bots that trade",
    "lifecycle": "The pipeline, drift, and predictions against what came true",
    "system": "Health, version, metrics",
}


def create_app(service: Service) -> FastAPI:
    """Return the application over the parts of a server; nothing is global, so one process may hold several."""
    from bot.version import code_version

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = _THREADS
        yield

    app = FastAPI(
        title=_TITLE,
        description=_ABOUT,
        version=code_version(),
        openapi_url="/api/openapi.json",
        docs_url=None,  # both pages would load scripts from another host
        redoc_url=None,
        openapi_tags=[{"name": name, "description": words} for name, words in _TAGS.items()],
        lifespan=lifespan,
    )
    app.state.service = service
    for module in (predictions, models, jobs, home, system, pages):
        app.include_router(module.router)
    install(app, service.home.root)
    _guard(app, service)
    _document_access(app)
    return app


def _guard(app: FastAPI, service: Service) -> None:
    """Put the guards around the routes; the last one added meets a request first."""
    settings = service.settings
    app.add_middleware(DocumentedMethods, document=lambda: app.openapi())  # noqa: PLW0108 - it is replaced below
    app.add_middleware(BodyLimit, most_bytes=settings.most_bytes)
    app.add_middleware(
        RateLimit,
        reads_per_second=settings.reads_per_second,
        writes_per_minute=settings.writes_per_minute,
        free_paths=pages.OPEN_PAGES,
    )
    app.add_middleware(
        Authentication, tokens=service.tokens, open_paths=OPEN_PATHS, wrong_per_minute=settings.wrong_per_minute
    )
    if settings.loopback:
        app.add_middleware(HostCheck)
    app.add_middleware(SecurityHeaders, page_policy=pages.PAGE_POLICY)
    app.add_middleware(Measured, metrics=service.metrics)


def _document_access(app: FastAPI) -> None:
    """State in the OpenAPI document that every route but the open ones needs a token."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = plain()
            document.setdefault("components", {})["securitySchemes"] = {
                "token": {"type": "http", "scheme": "bearer", "description": f"Scopes: {', '.join(Scope)}."}
            }
            for path, methods in document["paths"].items():
                for operation in methods.values():
                    operation["security"] = [] if path in OPEN_PATHS else [{"token": []}]
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
