#!/usr/bin/env python3
"""Train one model; for schedulers. The same options and exit codes as ``bot train model``."""

from __future__ import annotations

import sys

from bot.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["train", "model", *sys.argv[1:]]))
