"""Configs: YAML in, frozen values out, every error with its line and column."""
