"""Candles on which something happens in the process that builds from them, as it reads them.

A process of workers loads this module to read its job: it imports little.
"""

from __future__ import annotations

import os
import resource
import signal
from typing import Any

from ml.candles import Candles
from ml.errors import TrainingFailed


class Faulty(Candles):
    """What happens, happens in any process but that of the tests, which ``TEST_PARENT`` names."""

    @property
    def columns(self) -> Any:
        """Let it happen."""
        if os.environ["TEST_PARENT"] != str(os.getpid()):
            self.happen()
        return super().columns

    def happen(self) -> None:
        """Do nothing."""


class Deadly(Faulty):
    """Kills its process."""

    def happen(self) -> None:
        """Die."""
        os.kill(os.getpid(), signal.SIGKILL)


class Vast(Faulty):
    """Needs more memory than there is."""

    def happen(self) -> None:
        """Ask for it."""
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
        bytearray(16 << 30)


class Wrong(Faulty):
    """Shows a fault of the program."""

    def happen(self) -> None:
        """Raise what no module of ours raises."""
        raise ZeroDivisionError("a fault of the family")


class Nice(Faulty):
    """Tells of its process."""

    def happen(self) -> None:
        """Raise what is known of it."""
        ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        raise TrainingFailed(f"nice {os.nice(0)}, Ctrl-C ignored {ignored}, threads {os.environ['OMP_NUM_THREADS']}")
