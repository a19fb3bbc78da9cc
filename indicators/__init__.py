"""Predictions and features as Backtrader lines."""
