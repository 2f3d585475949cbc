"""Roll an approved version out to the model server; leave production alone otherwise."""

from __future__ import annotations

import time

from prefect import task
from prefect.cache_policies import NO_CACHE

from ratchet.client import ModelServerClient
from ratchet.clock import SystemClock
from ratchet.evaluation.gate import GateReport, approve_for_deployment
from ratchet.evaluation.turn import RetrainRequest, RolloutSummary
from ratchet.registry import ModelVersion, open_registry
from ratchet.registry.golden import read_golden
from ratchet.rollout import deploy_model
from ratchet.settings import load_settings
from tasks.champion import in_production
from tasks.narration import narrate
from tasks.retrying import is_worth_retrying


@task(
    name="roll-out",
    retries=2,
    retry_delay_seconds=[2, 5],
    retry_condition_fn=is_worth_retrying,
    timeout_seconds=600,
    cache_policy=NO_CACHE,
)
def roll_out(version: ModelVersion, gate: GateReport, request: RetrainRequest) -> RolloutSummary:
    """Stage, canary, promote, confirm; on a rejected or inconclusive version do nothing and say so."""
    settings = load_settings()
    with narrate("roll out") as narration, open_registry(settings, SystemClock()) as registry:
        if not approve_for_deployment(gate):
            verdict, reason = "none", f"the gate's verdict is {gate.verdict}; production is untouched"
        else:
            with ModelServerClient(settings.serving_url) as served:
                report = deploy_model(
                    registry,
                    served,
                    version,
                    golden=read_golden(registry, version),
                    clock=SystemClock(),
                    actor="retrain",
                    sleep=time.sleep,
                )
            verdict, reason = report.verdict.value, report.reason
        live = in_production(registry, request.model_name)
        narration.conclude(f"{verdict}: {reason}")
    return RolloutSummary(verdict=verdict, reason=reason, production_version=live.version if live else None)
