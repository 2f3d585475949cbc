"""Judging models: walk-forward validation, honest intervals, and the gate that lets a model pass or not.

Only what needs nothing but numpy is exported here; import the rest from its module: `baselines`, `bootstrap`,
`criteria`, `gate`, `metrics`, `predictions`, `validation`.
"""

from ratchet.evaluation.latency import LatencyReport, measure_latency
from ratchet.evaluation.walk_forward import Fold, PurgedWalkForward, refuse_leakage

__all__ = ["Fold", "LatencyReport", "PurgedWalkForward", "measure_latency", "refuse_leakage"]
