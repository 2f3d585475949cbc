from ratchet.tracking.base import LEAK_TAG, EndStatus, ParamValue, RunStatus, RunSummary, Tracker
from ratchet.tracking.factory import open_tracker
from ratchet.tracking.lineage import code_tags, environment_tags, lineage_tags
from ratchet.tracking.mlflow import MlflowTracker
from ratchet.tracking.spooled import SpooledTracker

__all__ = [
    "LEAK_TAG",
    "EndStatus",
    "MlflowTracker",
    "ParamValue",
    "RunStatus",
    "RunSummary",
    "SpooledTracker",
    "Tracker",
    "code_tags",
    "environment_tags",
    "lineage_tags",
    "open_tracker",
]
