"""Live trading through ccxt: closed candles in, orders out, each sent at most once and none forgotten."""
