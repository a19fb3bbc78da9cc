"""Drift monitors beside the test of performance: calibration, features, predictions, and the naive figure of one day."""
