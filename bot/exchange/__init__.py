"""The local exchange: a Binance-compatible spot market over candles, on loopback, for any ccxt program.

The core (``refusals``, ``orders``, ``market``, ``tape``, ``accounts``, ``register``, ``admission``, ``matching``,
``snapshot``) is free of input, output, clocks and threads. What speaks HTTP and websocket stands around it.
"""
