"""The program: commands, configuration, markets, brokers, backtests, reports."""
