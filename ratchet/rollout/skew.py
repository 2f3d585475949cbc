"""The skew audit of a live model: what it answered on, computed again from history."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from ratchet.clock import Clock
from ratchet.features.audit.recomputing import recomputer
from ratchet.features.audit.served_log import ServedLog
from ratchet.features.audit.skew import SkewReport, audit_served
from ratchet.market import Timeframe
from ratchet.rollout.live_features import features_of, find_live, live_candles, recorded_for, request_of
from ratchet.settings import Settings


@dataclass(frozen=True, slots=True)
class LiveAudit:
    """The report of one model; `n_lost` answers never reached the log."""

    model: str
    report: SkewReport
    n_lost: int


def audit_live_model(settings: Settings, clock: Clock, model: str | None = None) -> LiveAudit:
    """Compare the vectors that the model server logged with the features of the candle history.

    Raises:
        NotFoundError, InputError: no model is live, several are, or its candles are not in the history.
        ConfigurationError: its features are computed differently by this release.
    """
    version = find_live(settings, clock, model)
    features, timeframe = features_of(version), Timeframe.parse(request_of(version).timeframe)
    with closing(ServedLog(settings.served_log_path, read_only=True)) as log:
        served, n_lost = log.read(schema_hash=features.schema_hash), log.n_lost()
    own = [vector for vector in served if vector.model == version.name]
    candles = live_candles(settings, clock, version)
    market = recorded_for(settings, request_of(version), features, candles)
    recompute = recomputer(candles, features, timeframe, market)
    return LiveAudit(f"{version.name} {version.version}", audit_served(own, recompute, features.names), n_lost)
