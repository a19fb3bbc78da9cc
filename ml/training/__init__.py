"""From candles to a bundle: folds, calibration, the gate, diagnostics."""
