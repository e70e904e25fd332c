"""Training: samples and batches, what they are scaled by, all folds at once, and what is kept of it on disk."""

from xh2cm.model.loss import SPLITS
from xh2cm.settings import Training
from xh2cm.train.checkpoint import Run, opened, remembered
from xh2cm.train.normalisation import Normalisation, normalisation
from xh2cm.train.sampling import Batch, Drawn, Samples, batches, gauge_label, label_tensor
from xh2cm.train.state import Course
from xh2cm.train.streaming import Portion, Portions
from xh2cm.train.trainer import Trained, train

__all__ = [
    "SPLITS",
    "Batch",
    "Course",
    "Drawn",
    "Normalisation",
    "Portion",
    "Portions",
    "Run",
    "Samples",
    "Trained",
    "Training",
    "batches",
    "gauge_label",
    "label_tensor",
    "normalisation",
    "opened",
    "remembered",
    "train",
]
