"""Predictions, then per-attribute metrics from them."""
