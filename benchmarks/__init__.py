"""Measurements behind the figures that the README and the docs quote; ``python -m benchmarks NAME``."""
