"""What a prediction is worth: scores against observations, and the spread over folds."""
