"""Where the program ``bot`` and ``python -m bot`` begin; Ctrl-C while the modules load is an interruption too."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> int:
    """Run the command of ``sys.argv`` and return its exit code."""
    try:
        from bot.cli.main import main as run
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        return 1
    return run()


if __name__ == "__main__":
    sys.exit(main())
