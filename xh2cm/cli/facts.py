"""Facts about a fit for other programs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xh2cm.fitted import Fit

__all__ = ["best_epochs", "fit_facts"]


def fit_facts(fit: Fit) -> dict[str, Any]:
    """A fit as JSON can hold it.

    Parameters
    ----------
    fit : Fit

    Returns
    -------
    dict
    """
    return {
        "fingerprint": fit.fingerprint,
        "folds": fit.folds,
        "weights": fit.weights.shape[1],
        "features": fit.features,
        "pinned": fit.model.pinned,
        "epochs": fit.losses.sizes["epoch"],
        "best": best_epochs(fit),
        "provenance": fit.provenance,
    }


def best_epochs(fit: Fit) -> list[dict[str, Any]]:
    """The epoch of each fold with the lowest loss, in validation where there is any, and its losses.

    Parameters
    ----------
    fit : Fit

    Returns
    -------
    list of dict
        Nothing for a fit without losses.
    """
    loss = fit.losses["loss"]
    if not loss.sizes["epoch"]:
        return []
    total = loss.sel(target="total")
    rows = []
    for fold in fit.folds:
        own = total.sel(fold=fold)
        judged = own.sel(split="validation")
        judged = judged if bool(judged.notnull().any()) else own.sel(split="training")
        if bool(judged.notnull().any()):
            best = own.isel(epoch=int(judged.argmin("epoch")))
            losses = {split: best.sel(split=split).item() for split in ("training", "validation")}
            rows.append({"fold": fold, "best epoch": int(best["epoch"]), **losses})
    return rows
