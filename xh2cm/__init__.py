"""Hybrid modelling of the land's water and carbon cycles on xarray datasets.

Importing it adds ``Dataset.h2cm``; torch is imported with the first thing that needs it.

References
----------
Baghirov et al. (2026), doi:10.5194/gmd-19-4467-2026
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from xh2cm.accessor import H2CMAccessor
from xh2cm.data.folds import fold_labels
from xh2cm.data.options import DataOptions
from xh2cm.datasets import tutorial
from xh2cm.datasets.published import open_published
from xh2cm.errors import Finding, FitError, H2CMError, H2CMWarning, InputError, StoreError
from xh2cm.evaluate.scores import score
from xh2cm.prepared import Prepared, check, folds
from xh2cm.settings import Training
from xh2cm.targets import Target
from xh2cm.versions import show_versions

if TYPE_CHECKING:
    from xh2cm.fitted import Fit, gather, load_fit
    from xh2cm.model import PUBLISHED_NETWORKS, HybridModel, Model, Net, SpinUp, networks
    from xh2cm.physics import Processes
    from xh2cm.variables import Flux, Parameter, Storage, Var
    from xh2cm.workflow import fit, predict, response, sensitivity

__version__ = "0.1.0.dev0"

__all__ = [
    "PUBLISHED_NETWORKS",
    "DataOptions",
    "Finding",
    "Fit",
    "FitError",
    "Flux",
    "H2CMAccessor",
    "H2CMError",
    "H2CMWarning",
    "HybridModel",
    "InputError",
    "Model",
    "Net",
    "Parameter",
    "Prepared",
    "Processes",
    "SpinUp",
    "Storage",
    "StoreError",
    "Target",
    "Training",
    "Var",
    "check",
    "fit",
    "fold_labels",
    "folds",
    "gather",
    "load_fit",
    "networks",
    "open_published",
    "predict",
    "response",
    "score",
    "sensitivity",
    "show_versions",
    "tutorial",
]

_LATER = {
    "Fit": "xh2cm.fitted",
    "gather": "xh2cm.fitted",
    "load_fit": "xh2cm.fitted",
    "HybridModel": "xh2cm.model",
    "Model": "xh2cm.model",
    "Net": "xh2cm.model",
    "PUBLISHED_NETWORKS": "xh2cm.model",
    "SpinUp": "xh2cm.model",
    "networks": "xh2cm.model",
    "Processes": "xh2cm.physics",
    "Flux": "xh2cm.variables",
    "Parameter": "xh2cm.variables",
    "Storage": "xh2cm.variables",
    "Var": "xh2cm.variables",
    "fit": "xh2cm.workflow",
    "predict": "xh2cm.workflow",
    "response": "xh2cm.workflow",
    "sensitivity": "xh2cm.workflow",
}
"""Names whose modules need torch: imported when they are first asked for."""


def __getattr__(name: str) -> Any:
    if name in _LATER:
        return getattr(importlib.import_module(_LATER[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
