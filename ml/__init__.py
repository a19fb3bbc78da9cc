"""Numbers: candles, features, labels, training, evaluation, inference. No Backtrader, no network."""
