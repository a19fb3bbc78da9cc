"""The task ``path`` in words: what a model of paths answers, how its figures read, and what it must not be used for.

Its training is a flow of its own (``ml.training.path_trainer``): what is learnt is one candle, what is judged is a path.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from ml.tasks.words import percent

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PathWords"]

_SHOWN = (1, 2, 5, 10, 20, 60, 120, 300)


class PathWords:
    """How the figures of a model of paths are put into words."""

    name: ClassVar[str] = "path"
    unit: ClassVar[str] = "sigma^2"
    baselines: ClassVar[Mapping[str, str]] = {
        "persistence": "no change of the price",
        "drift": "the mean return of the training data",
    }

    def performance(self, figures: Mapping[str, Any]) -> dict[str, Any]:
        """Return the figures that ``metadata.json`` holds under ``performance``."""
        return {
            "backtest_accuracy": figures["direction_accuracy"],
            "backtest_r2": figures["r2_os"],
            "trusted_steps": figures["trusted_steps"],
        }

    def question(self, document: Mapping[str, Any]) -> str:
        """Return the question that the model answers, for its card."""
        return (
            f"It answers: where will the price be in each of the next {document['n_steps_ahead']} bars of "
            f"{document['timeframe']}, within which band, and how many of those steps deserve trust?"
        )

    def headline(self, figures: Mapping[str, Any]) -> list[tuple[str, str, str]]:
        """Return rows (what, measured, beside) of the figures that matter, in words."""
        gain = figures["gain"]
        bands = {row["step"]: row for row in figures["bands"]}
        first = bands.get(1)
        rows = [
            (
                "trusted steps",
                f"{figures['trusted_steps']} of {figures['n_steps_ahead']}",
                f"steps in a row that beat no change and drift, on {figures['n']:,} paths",
            ),
            (
                f"return explained at step {figures['horizon']}",
                f"{percent(figures['r2_os'], 2)} of the squared return",
                f"no change explains 0 %; gain {_gain(gain['persistence'])}; against drift {_gain(gain['drift'])}",
            ),
            (
                f"direction right at step {figures['horizon']}",
                (
                    f"{percent(figures['direction_accuracy'])} ({percent(figures['direction_accuracy_low'])} to "
                    f"{percent(figures['direction_accuracy_high'])})"
                ),
                f"always the majority {percent(figures['majority_baseline'])}",
            ),
            (
                "what came true of a predicted move",
                percent(figures["shrink"][-1]),
                "every predicted return is shrunk by this factor; 0 % is a path that stands still",
            ),
        ]
        if first is not None:
            longest = bands[max(bands)]
            rows.append(
                (
                    "90 % band",
                    f"held {percent(first['coverage'])} at step 1, {percent(longest['coverage'])} at step {longest['step']}",
                    f"by volatility at step 1: {_thirds(first)}; at step {longest['step']}: {_thirds(longest)}",
                )
            )
        return rows

    def tables(self, figures: Mapping[str, Any]) -> list[str]:
        """Return the table of skill by step as lines of Markdown."""
        table = figures["by_step"]
        lines = [
            "",
            "Skill by step (a step is trusted where both lower bounds and those of all steps before it are above 0):",
        ]
        lines += [
            "",
            "| step | return explained | gain on no change, 95 % interval | gain on drift, lower bound | paths |",
        ]
        lines += ["|---|---|---|---|---|"]
        for step in (step for step in _SHOWN if step <= len(table["step"])):
            row = {name: column[step - 1] for name, column in table.items()}
            lines.append(
                f"| {step} | {percent(row['r2_os'], 2)} | {row['gain_persistence']:+.5f} "
                f"({row['gain_persistence_low']:+.5f} to {row['gain_persistence_high']:+.5f}) "
                f"| {row['gain_drift_lower']:+.5f} | {row['n']:,} |"
            )
        return lines

    def training_words(self, baselines: Mapping[str, Any]) -> str:
        """Return what the card says of the labels."""
        return f"mean return of a bar {1e4 * baselines['drift']:+.3f} bp"

    def limits(self, document: Mapping[str, Any]) -> str:
        """Return what the model must not be used for."""
        trusted = document["trusted_steps"]
        rest = f"beyond step {trusted}" if trusted else "at any step"
        return (
            f"No order may rest on the path {rest}: it is shown there, and nothing says that it is better than no change. "
            "The high and low of a path are those of the forecast, smoother than any market. One series, one market regime "
            "after another: the past may not repeat. Promotion speaks of squared error, not of profit."
        )


def _gain(row: Mapping[str, float]) -> str:
    return f"{row['mean']:+.5f} (at least {row['lower_95']:+.5f}) sigma^2"


def _thirds(row: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {percent(row[name])}" for name in ("calm", "usual", "wild"))
