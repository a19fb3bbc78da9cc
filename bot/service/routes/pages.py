"""The dashboard: one page and its assets, read once and served from memory, and who asks, for the page's sake."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Path, Request
from fastapi.responses import Response
from pydantic import Field

from bot.service.problems import Problem
from bot.service.schemas.common import Answer, errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable

__all__ = ["OPEN_PAGES", "PAGE_POLICY", "TokenAnswer", "router"]

router = APIRouter()

OPEN_PAGES = frozenset({"/", "/assets/"})
"""What of the page needs no token: it holds no data, and asks for a token itself."""

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content security policy of the page: nothing from another host, no script or style inside the page."""

_PACKAGE = "bot.service.dashboard"
_PAGE = "index.html"
_ASKED_EACH_TIME = "no-cache"
_FOR_EVER = "private, max-age=31536000, immutable"
_MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class TokenAnswer(Answer):
    """The token that asks; the token itself is not told."""

    name: str = Field(examples=["owner"])
    scope: Literal["read", "write"]


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    media_type: str
    etag: str


@router.get("/", include_in_schema=False)
def page(request: Request) -> Response:
    """Return the page."""
    return _answer(request, _PAGE)


@router.get("/assets/{path:path}", include_in_schema=False)
def asset(request: Request, path: Annotated[str, Path(max_length=200)]) -> Response:
    """Return a script, a style or a picture of the page: one of a fixed table, whatever the path says."""
    release, _, rest = path.partition("/")
    name, kept = (rest, _FOR_EVER) if release == _release() else (path, _ASKED_EACH_TIME)
    if name == _PAGE:
        raise _nothing()
    return _answer(request, name, kept)


@router.get("/api/token", tags=["system"], summary="Who asks", responses=errors())
def token(request: Request) -> TokenAnswer:
    """Return name and scope of the token that asks, so that a program may know what it may do."""
    identity = request.scope["state"]["identity"]
    return TokenAnswer(name=identity.name, scope=str(identity.scope))  # type: ignore[arg-type]


def _answer(request: Request, name: str, kept: str = _ASKED_EACH_TIME) -> Response:
    found = _table().get(name)
    if found is None:
        raise _nothing()
    headers = {"ETag": found.etag, "Cache-Control": kept}
    asked = request.headers.get("if-none-match", "")
    if any(one.strip().removeprefix("W/") == found.etag for one in asked.split(",")):
        return Response(status_code=304, headers=headers)
    return Response(found.body, headers=headers, media_type=found.media_type)


def _nothing() -> Problem:
    return Problem(404, "Not Found", "there is nothing at this address")


@cache
def _table() -> dict[str, _File]:
    """Return every file of the page by its path below the package; the page names its assets below their release."""
    bodies = dict(_bodies())
    page = bodies[_PAGE].replace(b'"/assets/', f'"/assets/{_release()}/'.encode())
    return {
        name: _File(body, _media_type(name), f'"{hashlib.sha256(body).hexdigest()[:32]}"')
        for name, body in {**bodies, _PAGE: page}.items()
    }


@cache
def _release() -> str:
    """Return a digest of all files: below it a browser may keep them for ever, and scripts of two versions never mix."""
    digest = hashlib.sha256()
    for name, body in _bodies():
        digest.update(f"{name} {len(body)}\n".encode() + body)
    return digest.hexdigest()[:16]


@cache
def _bodies() -> tuple[tuple[str, bytes], ...]:
    return tuple(sorted(_collect(files(_PACKAGE), "")))


def _collect(folder: Traversable, above: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        name = f"{above}{entry.name}"
        if entry.is_dir():
            yield from _collect(entry, f"{name}/")
        elif _media_type(name):
            yield name, entry.read_bytes()


def _media_type(name: str) -> str:
    return _MEDIA_TYPES.get(f".{name.rpartition('.')[2]}", "")
