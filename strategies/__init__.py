"""Decisions: signals, sizes and risk rules that read lines and state a target."""
