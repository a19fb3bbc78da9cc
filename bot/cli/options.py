"""Options that several commands share, so that they look and behave alike."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["ExchangeOption", "HomeOption", "JsonOption", "PipelineSettingsOption", "TimeframeOption"]

HomeOption = Annotated[
    Path | None, typer.Option("--home", help="Folder of candles, models and runs [default: $BOT_HOME or ./var].")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
ExchangeOption = Annotated[
    str | None, typer.Option("--exchange", help="Source of the candles [default: the only one that holds the series].")
]
TimeframeOption = Annotated[str, typer.Option("--timeframe", help="Length of a candle: 1m, 5m, 1h, 1d.")]
PipelineSettingsOption = Annotated[
    Path | None,
    typer.Option(
        "--settings", help="Settings of the pipeline, YAML [default: pipeline.yaml, or configs/pipeline.yaml]."
    ),
]
