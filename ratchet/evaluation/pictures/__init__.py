"""Pictures of an evaluation: PNG bytes by Matplotlib, at most 1,200 pixels wide, no state kept between calls.

Bars and whiskers are 95 % intervals unless a picture says otherwise; times are UTC.
"""

from ratchet.evaluation.pictures.criteria import gate_picture
from ratchet.evaluation.pictures.equity import equity_picture
from ratchet.evaluation.pictures.folds import fold_picture
from ratchet.evaluation.pictures.probabilities import calibration_picture, confusion_picture
from ratchet.evaluation.pictures.slices import slices_picture

__all__ = [
    "calibration_picture",
    "confusion_picture",
    "equity_picture",
    "fold_picture",
    "gate_picture",
    "slices_picture",
]
