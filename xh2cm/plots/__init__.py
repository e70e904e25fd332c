"""Figures of predictions, scores and fits, on matplotlib axes."""

from xh2cm.errors import Finding, InputError

try:
    import matplotlib  # noqa: F401
except ModuleNotFoundError as error:
    raise InputError([Finding("figures", f"need {error.name}", "pip install 'xh2cm[plot]'")]) from None

from xh2cm.plots.plots import Plots, closure, folds, latitudes, losses, overview, season, series, skill, values

__all__ = ["Plots", "closure", "folds", "latitudes", "losses", "overview", "season", "series", "skill", "values"]
