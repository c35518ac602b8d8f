"""Benchmarks of prepare and of the input of training."""
