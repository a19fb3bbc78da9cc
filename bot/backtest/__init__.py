"""A backtest: the feed, the loop, the run folder and its figures."""
