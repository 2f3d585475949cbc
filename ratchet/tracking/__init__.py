from ratchet.tracking.base import EndStatus, ParamValue, RunStatus, RunSummary, Tracker
from ratchet.tracking.factory import open_tracker
from ratchet.tracking.mlflow import MlflowTracker

__all__ = ["EndStatus", "MlflowTracker", "ParamValue", "RunStatus", "RunSummary", "Tracker", "open_tracker"]
