"""The proof that a config trades the same in a backtest and live."""
