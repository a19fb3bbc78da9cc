"""Pages from templates: self-contained, escaped, in the one style of all reports."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Any

from bot.report.words import money, number, percent, points

__all__ = ["render"]

_UNIT = re.compile(r"(?<=\d) (?=%|bp\b)")  # a number is not parted from its unit


def render(template: str, **context: Any) -> str:
    """Return a page.

    Parameters
    ----------
    template
        Name of a file of this package.
    context
        What it names, besides ``style``: the style sheet.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    folder = files("bot.report")

    def text(name: str) -> str:
        return folder.joinpath(name).read_text(encoding="utf-8")

    environment = Environment(
        loader=FunctionLoader(text), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(percent=percent, points=points, number=number, money=money)
    page = environment.get_template(template).render(style=text("style.css"), **context)
    return _UNIT.sub("\N{NO-BREAK SPACE}", page)
