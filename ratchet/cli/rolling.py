"""`ratchet rollout`: the staged rollout by hand, for a version that waits or that an interrupted run left behind."""

from __future__ import annotations

import time

from ratchet.client import ModelServerClient
from ratchet.clock import SystemClock
from ratchet.errors import UnavailableError
from ratchet.registry import open_registry
from ratchet.registry.golden import read_golden
from ratchet.rollout import Verdict, deploy_model
from ratchet.settings import Settings


def roll_out(settings: Settings, name: str, version: str) -> str:
    """Deploy a version that the gate approved; return what came of it in one line.

    Raises:
        NotFoundError: there is no such version.
        RegistryConflictError: the gate did not approve it, or it is retired.
        UnavailableError: no model server answers, so the version waits on.
    """
    clock = SystemClock()
    with open_registry(settings, clock) as registry, ModelServerClient(settings.serving_url) as served:
        found = registry.get_model(name, version)
        golden = read_golden(registry, found)
        report = deploy_model(registry, served, found, golden=golden, clock=clock, actor="cli", sleep=time.sleep)
    line = f"{name} {found.version}: {report.verdict.value}, {report.reason}; in production: {report.in_production}"
    if report.verdict is Verdict.HOLD:
        raise UnavailableError(f"{line}; start the server with: ratchet up, then run this again")
    return line
