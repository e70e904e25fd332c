"""Figures of datasets, fits and predictions."""
