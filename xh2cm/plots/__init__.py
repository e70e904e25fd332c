"""Figures of predictions, scores and fits, on matplotlib axes."""

from xh2cm.errors import Finding, InputError

try:
    import matplotlib  # noqa: F401
except ModuleNotFoundError as error:
    raise InputError([Finding("figures", f"need {error.name}", "pip install 'xh2cm[plot]'")]) from None
