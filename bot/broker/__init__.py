"""The spot broker: lots, fees, exchange rules and protective orders, shared by backtest and live."""
