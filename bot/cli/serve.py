"""``bot serve``: the prediction service and its tokens."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import contextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated

import typer

from bot.cli.options import HomeOption, JsonOption, PipelineSettingsOption
from bot.cli.output import Report
from bot.errors import BotError, UsageError
from bot.home import Home

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator
    from pathlib import Path
    from threading import Event
    from types import FrameType

    import uvicorn

    from bot.service.access import TokenStore

__all__ = ["app"]

app = typer.Typer(
    help="The prediction service: REST API on this machine.", no_args_is_help=False, invoke_without_command=True
)
token_app = typer.Typer(help="Tokens of the service: create, list, revoke.", no_args_is_help=True)
app.add_typer(token_app, name="token")

_GRACE_S = 5
_BACKLOG = 2_048
TokenName = Annotated[str, typer.Argument(metavar="NAME", help="What the token is for: a-z, 0-9 and -.")]


@app.callback()
def serve(
    context: typer.Context,
    host: Annotated[str, typer.Option("--host", help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="Port; 0 for any.")] = 8_000,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Listen at an address that other machines reach.")
    ] = False,
    jobs: Annotated[int, typer.Option("--jobs", min=1, max=64, help="Trainings that run at once.")] = 1,
    settings: PipelineSettingsOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve predictions, models and the state of the home until it is interrupted.

    A start where no token may write, as the first, makes one that may do everything and shows it once; more are made by
    `bot serve token create`.
    """
    if context.invoked_subcommand is not None:
        return
    loopback = _is_loopback(host)
    if not loopback and not allow_remote:
        raise UsageError(
            f"--host {host} can be reached from other machines: the service speaks plain HTTP, so its tokens could "
            "be read on the way. Put a server with TLS in front of it, or say --allow-remote"
        )
    if settings is not None and not settings.is_file():
        raise UsageError(f"--settings {settings}: there is no such file")
    _require_library()
    place = Home.resolve(home)

    import uvicorn

    from bot.service.app import create_app
    from bot.service.context import Settings, open_service

    listener = _listen(host, port)
    with listener, open_service(place, Settings(loopback=loopback, processes=jobs, pipeline=settings)) as service:
        config = uvicorn.Config(
            create_app(service),
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # a caller's word for its address is not believed
            timeout_graceful_shutdown=_GRACE_S,
            lifespan="on",
        )
        server = uvicorn.Server(config)
        address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
        with _ended_by_signals(server, service.ending):
            _announce(Report(as_json=as_json), address, service.tokens)
            gc.freeze()  # what the start has made stays: to look through it for garbage would halt every request
            server.run(sockets=[listener])


@contextmanager
def _ended_by_signals(server: uvicorn.Server, ending: Event) -> Iterator[None]:
    """Let SIGINT and SIGTERM end streams and the server, and nothing else: it raises them once more when it has ended.

    The process goes on, as its jobs are to be ended in order after that.
    """
    import signal

    handle_exit = server.handle_exit

    def end(sig: int, frame: FrameType | None) -> None:
        ending.set()
        handle_exit(sig, frame)

    server.handle_exit = end  # type: ignore[method-assign]
    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _announce(report: Report, address: str, tokens: TokenStore) -> None:
    token = tokens.first()
    report.line(f"the service listens at {address}")
    if token is not None:
        report.line(f"token   {token}")
        report.line("        it may do everything and is not shown again: keep it, such as in BOT_TOKEN")
    else:
        report.line("tokens  bot serve token list shows their names, bot serve token create makes another")
    report.line(f'try     curl -H "Authorization: Bearer $BOT_TOKEN" {address}/api/models')
    report.document({"url": address, "token": token, "pid": os.getpid(), "openapi": f"{address}/api/openapi.json"})
    sys.stdout.flush()  # whoever started us reads on


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        raise UsageError(f"--host {host}: expected an address of this machine, such as 127.0.0.1") from None


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens, before anything else is opened."""
    import socket

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)  # who reads the address may connect at once
    except OSError as error:
        listener.close()
        raise BotError(
            f"cannot listen at {host}:{port}: {error.strerror or error}; is another server running? "
            "Choose another port with --port, or 0 for any"
        ) from None
    return listener


def _require_library() -> None:
    from importlib.util import find_spec

    missing = [name for name in ("fastapi", "uvicorn", "prometheus_client") if find_spec(name) is None]
    if missing:
        raise UsageError(f"the service needs {' and '.join(missing)}: pip install 'mlbot[api]'")


@token_app.command("create")
def create(
    name: TokenName,
    scope: Annotated[str, typer.Option("--scope", help="read, or write for everything.")] = "read",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a token and show it once; a running server knows it at once."""
    from bot.service.access import Scope

    if scope not in list(Scope):
        raise UsageError(f"--scope {scope}: expected read or write")
    token = _tokens(home).create(name, Scope(scope))
    report = Report(as_json=as_json)
    report.line(token)
    report.line("it is not shown again")
    report.document({"name": name, "scope": scope, "token": token})


@token_app.command("list")
def list_tokens(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the names of the tokens and what they may do; the tokens themselves are not stored."""
    from ml.candles import format_ms

    rows = _tokens(home).list()
    report = Report(as_json=as_json)
    report.table("", ("name", "scope", "created"), [(row.name, row.scope, format_ms(row.created_ms)) for row in rows])
    if not rows:
        report.line("No tokens yet: bot serve makes the first one.")
    report.document(
        {"tokens": [{"name": row.name, "scope": row.scope, "created_at": format_ms(row.created_ms)} for row in rows]}
    )


@token_app.command("revoke")
def revoke(name: TokenName, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Take a token back; a running server refuses it from the next request on."""
    _tokens(home).revoke(name)
    report = Report(as_json=as_json)
    report.line(f"{name} is revoked")
    report.document({"name": name, "revoked": True})


def _tokens(home: Path | None) -> TokenStore:
    from bot.service.access import TokenStore

    return TokenStore(Home.resolve(home).root / "service")
