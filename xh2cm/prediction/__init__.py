"""Prediction with a fit: lazily, block by block, from saved states; responses and sensitivities."""
