"""One address, one set of methods: what the document of the service says, whichever of several routes would match."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from bot.service.problems import Problem, problem_response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.types import ASGIApp, Receive, Send
    from starlette.types import Scope as Connection

__all__ = ["DocumentedMethods"]

_PARAMETER = re.compile(r"\{[^/{}]+\}")


class DocumentedMethods:
    """Refuses methods that the document does not name for an address; what it does not know passes untouched.

    The router alone would take ``GET .../promote`` for the card of a version of that name, and names of an address that has
    two routes only the methods of the first.

    Parameters
    ----------
    app
        What comes next.
    document
        Returns the OpenAPI document; asked once, at the first request.
    """

    def __init__(self, app: ASGIApp, document: Callable[[], Mapping[str, Any]]) -> None:
        self._app, self._document = app, document
        self._known: list[tuple[re.Pattern[str], frozenset[str]]] | None = None

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse its method."""
        if scope["type"] == "http":
            allowed = self._methods(scope["path"])
            if allowed and scope["method"] not in allowed:
                words = ", ".join(sorted(allowed))
                problem = Problem(405, "Method Not Allowed", f"allowed here: {words}", headers={"Allow": words})
                await problem_response(problem)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _methods(self, path: str) -> frozenset[str]:
        if self._known is None:
            paths: Mapping[str, Mapping[str, Any]] = self._document()["paths"]
            exact_first = sorted(paths, key=lambda template: len(_PARAMETER.findall(template)))
            self._known = [
                (_pattern(template), frozenset(name.upper() for name in paths[template])) for template in exact_first
            ]
        return next((methods for pattern, methods in self._known if pattern.fullmatch(path)), frozenset())


def _pattern(template: str) -> re.Pattern[str]:
    """Return what an address of a template looks like."""
    parts = (re.escape(part) for part in _PARAMETER.split(template))
    return re.compile("[^/]+".join(parts))
