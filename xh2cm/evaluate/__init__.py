"""Evaluation of predictions: scores against observations, and the spread over folds."""
