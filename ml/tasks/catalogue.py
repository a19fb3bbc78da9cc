"""The tasks by the name that a predictor's class states."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml.tasks.direction import DirectionTask
from ml.tasks.path import PathWords
from ml.tasks.price import PriceTask
from ml.tasks.risk import RiskTask
from ml.tasks.volatility import VolatilityTask

if TYPE_CHECKING:
    from ml.tasks.contract import Task

__all__ = ["PATH", "TASKS", "WORDS"]

PATH = "path"
"""Whole paths are trained by ``ml.training.path_trainer``; everything else is a task of this catalogue."""

TASKS: dict[str, Task] = {task.name: task for task in (DirectionTask(), PriceTask(), RiskTask(), VolatilityTask())}
"""Every task, by name."""

WORDS: dict[str, Task | PathWords] = {**TASKS, PATH: PathWords()}
"""How the figures of every task are put into words, paths included."""
