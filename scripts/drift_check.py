#!/usr/bin/env python3
"""Look for drift; for schedulers. The same options and exit codes as ``bot drift check``: 0 calm, 3 a finding."""

from __future__ import annotations

import sys

from bot.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["drift", "check", *sys.argv[1:]]))
