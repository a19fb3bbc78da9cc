"""What answers of the service share: how a symbol is written, what a model is called, and its row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registry.model import StrategyModel

__all__ = ["model_answer", "model_name", "pair_text"]

_QUOTES = (
    "FDUSD",
    "USDT",
    "USDC",
    "TUSD",
    "BUSD",
    "DAI",
    "USD",
    "EUR",
    "GBP",
    "JPY",
    "TRY",
    "BRL",
    "BTC",
    "ETH",
    "BNB",
)
_MODEL_SUFFIXES = (".txt", ".onnx", ".ubj")


def pair_text(symbol: str) -> str:
    """Return ``BTC_USDT`` of a canonical ``BTCUSDT``; a symbol that ends in no currency we know stays as it is."""
    quote = next((name for name in _QUOTES if symbol.endswith(name) and len(symbol) > len(name) + 1), None)
    return symbol if quote is None else f"{symbol.removesuffix(quote)}_{quote}"


def model_name(model: StrategyModel) -> str:
    """Return ``BTC_USDT_1m_300steps_multi_ohlc``; a bundle that cannot be read has no steps in its name."""
    steps = _steps(_document(model))
    parts = (pair_text(model.symbol), model.timeframe, "" if steps is None else f"{steps}steps", model.model_type)
    return "_".join(part for part in parts if part)


def model_answer(model: StrategyModel) -> dict[str, Any]:
    """Return one registered version as a row; what its family does not measure, or what cannot be read, is null.

    ``val_r2`` and ``val_rmse`` are of returns on bars that the model had not seen, ``measured`` says of which; the fit to its
    own training rows is never measured. ``model_size_kb`` is that of its model files, without records and documents.
    """
    document = _document(model)
    return {
        "name": model_name(model),
        "type": model.model_type,
        "symbol": pair_text(model.symbol),
        "timeframe": model.timeframe,
        "n_steps_ahead": _steps(document),
        "model_size_kb": _size_kb(model),
        "trained_at": document.get("created_at") or model.registered_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "performance": _performance(model),
        "version": model.version_id,
        "digest": model.digest or None,
    }


def _document(model: StrategyModel) -> Mapping[str, Any]:
    return {} if model.problem else model.metadata


def _steps(document: Mapping[str, Any]) -> int | None:
    """Return how many candles ahead the model speaks of: a path by its length, others by their horizon."""
    found = document.get("n_steps_ahead") or document.get("horizon")
    return found if isinstance(found, int) else None


def _size_kb(model: StrategyModel) -> float | None:
    if model.problem:
        return None
    sizes = [record.bytes for name, record in model.manifest.files.items() if name.endswith(_MODEL_SUFFIXES)]
    return round(sum(sizes) / 1024, 1) if sizes else None


def _performance(model: StrategyModel) -> dict[str, Any]:
    """Return R2 and root mean square error; of a path those of the next close, the one number that is fitted."""
    figures = {} if model.problem else model.metrics.get("out_of_sample") or {}
    close = (figures.get("first_step") or {}).get("close")
    if close is not None:
        r2, rmse = close.get("r2"), close.get("rmse")
        words = "the return to the next close, in volatilities of one bar, on unseen bars; no change has an R2 of 0"
    else:
        r2, rmse = figures.get("r2_os"), figures.get("rmse")
        words = "the log return to the horizon, on unseen bars; no change has an R2 of 0"
    return {
        "train_r2": None,
        "val_r2": r2,
        "train_rmse": None,
        "val_rmse": rmse,
        "measured": None if r2 is None and rmse is None else words,
    }
