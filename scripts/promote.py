#!/usr/bin/env python3
"""Promote one version; for schedulers. The same options and exit codes as ``bot models promote``."""

from __future__ import annotations

import sys

from bot.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["models", "promote", *sys.argv[1:]]))
