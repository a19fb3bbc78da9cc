"""Candles from outside: files, exchanges, the built-in market, and the store that keeps them."""
