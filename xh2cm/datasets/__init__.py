"""Datasets to start from: tutorials, the synthetic twin, published files, any path."""
