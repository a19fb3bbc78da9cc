#!/usr/bin/env python3
"""One cycle of the pipeline; for schedulers. The same options and exit codes as ``bot pipeline run``.

``train.py model SYMBOL --type ...`` trains one model, as ``bot train model`` does.
"""

from __future__ import annotations

import sys

from bot.cli.main import main

if __name__ == "__main__":
    words = sys.argv[1:]
    sys.exit(main(["train", *words] if words[:1] == ["model"] else ["pipeline", "run", *words]))
