"""The features, a module for each group."""
