"""Forecast paths: models that predict the next candle, iterated on their own predictions."""
