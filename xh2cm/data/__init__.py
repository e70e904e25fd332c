"""A dataset becomes tensors: found, converted, checked, dealt to folds."""

from __future__ import annotations
