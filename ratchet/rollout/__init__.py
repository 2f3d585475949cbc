from ratchet.registry.golden import Golden, read_golden
from ratchet.rollout.health import health_check_after_deployment, rollback_to_previous
from ratchet.rollout.report import RolloutPlan, RolloutReport, Step, Verdict
from ratchet.rollout.served import PredictionView, ServedModels
from ratchet.rollout.staged import deploy_model

__all__ = [
    "Golden",
    "PredictionView",
    "RolloutPlan",
    "RolloutReport",
    "ServedModels",
    "Step",
    "Verdict",
    "deploy_model",
    "health_check_after_deployment",
    "read_golden",
    "rollback_to_previous",
]
