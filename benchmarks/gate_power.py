"""How often the gate errs: approvals of models that are no better, and of models that are, by simulation.

    python -m benchmarks.gate_power --worlds 400 --out FILE.json

Two models foresee the same random walks; the champion is right 53 % of the time, the challenger as much more as the
row says. What is counted is how often each rule would have let the challenger through: the bare comparison of two
figures, the same with a paired test that takes rows for independent, and the whole gate (accuracy gain with its test,
Sharpe ratio, slices; latency, probes, infra and baselines are given and pass).
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ratchet.evaluation.criteria import InfraReport
from ratchet.evaluation.gate import Evidence, GateReport, judge
from ratchet.evaluation.latency import LatencyReport
from ratchet.evaluation.metrics import Metric, hits
from ratchet.evaluation.policy import GatePolicy
from ratchet.evaluation.predictions import Predictions
from ratchet.evaluation.records import LeakReport, Probe
from ratchet.settings import CostSettings
from tests.panels import START_NS, rival_predictions

CHAMPION = 0.53
SIGMAS_95 = 1.645
# (label horizon in bars, timestamps, symbols): a window of so many hourly bars
WINDOWS = ((1, 1_000, 1), (1, 5_000, 1), (1, 1_000, 6), (12, 1_000, 1), (12, 5_000, 1), (12, 2_500, 6))
GAINS = (0.0, 0.02, 0.04)
POLICY = GatePolicy(n_resamples=300)
CLEAN = LeakReport(
    probes=(Probe(name="truncation", status="passed", value=0.0, low=None, high=0.0, n=1, reason="given"),), seed=0
)
PASSING = {
    "latency": LatencyReport(p50_ms=0.3, p99_ms=0.6, p99_upper_ms=0.7, n=1_000),
    "infra": InfraReport(is_loaded=True, golden_gap=0.0),
    "gain_over": dict.fromkeys(POLICY.baselines, Metric(value=0.03, low=0.02, high=0.04)),
}


def skill(accuracy: float) -> float:
    """Return the signal-to-noise ratio of a model that is right so often."""
    return math.tan(math.pi * (accuracy - 0.5))


def verdict(challenger: Predictions, champion: Predictions, seed: int) -> GateReport:
    """Ask the gate."""
    trained_ns = int(challenger.decision_ns.min())
    return judge(
        Evidence(
            challenger=challenger,
            champion=champion,
            challenger_train_end_ns=trained_ns,
            champion_train_end_ns=trained_ns,
            champion_name="champion",
            train_gap=0.01,
            costs=CostSettings(),
            embargo_ns=0,
            seed=seed,
            model="simulated",
            judged="0" * 64,
            model_digest="0" * 64,
            issued_ns=START_NS,
            leaks=CLEAN,
            latency=PASSING["latency"],  # type: ignore[arg-type]
            infra=PASSING["infra"],  # type: ignore[arg-type]
            gain_over=PASSING["gain_over"],  # type: ignore[arg-type]
        ),
        POLICY,
    )


def is_shown_naively(challenger: Predictions, champion: Predictions) -> bool:
    """Apply a paired test that takes overlapping rows for independent ones."""
    difference = hits(challenger.label, challenger.p_up) - hits(champion.label, champion.p_up)
    error = float(difference.std(ddof=1)) / math.sqrt(len(difference))
    return float(difference.mean()) > max(0.02, SIGMAS_95 * error)


def measure(window: tuple[int, int, int], gain: float, n_worlds: int) -> dict[str, float]:
    """Count how often each rule approves in so many worlds."""
    horizon, n_times, n_symbols = window
    skills = (skill(CHAMPION + gain), skill(CHAMPION))
    counts = np.zeros(6)
    started = time.perf_counter()
    for seed in range(n_worlds):
        pair = rival_predictions(skills, n_times=n_times, horizon=horizon, seed=seed, n_symbols=n_symbols)
        report = verdict(*pair, seed)
        gained = next(item for item in report.criteria if item.name == "accuracy_gain")
        counts += (
            gained.value >= POLICY.min_accuracy_gain,
            is_shown_naively(*pair),
            gained.status == "passed",
            report.verdict == "approve",
            report.verdict == "reject",
            float(np.mean((pair[0].p_up > 0.5) != (pair[1].p_up > 0.5))),
        )
    names = ("bare", "paired_as_if_independent", "accuracy_criterion", "gate_approves", "gate_rejects", "disagreement")
    shares = {name: round(float(value), 4) for name, value in zip(names, counts / n_worlds, strict=True)}
    return {
        "horizon": horizon,
        "n_times": n_times,
        "n_symbols": n_symbols,
        "true_gain": gain,
        "worlds": n_worlds,
        **shares,
        "seconds": round(time.perf_counter() - started, 1),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every window and gain."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--worlds", type=int, default=400)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    rows = []
    for window in WINDOWS:
        for gain in GAINS:
            rows.append(measure(window, gain, options.worlds))
            print(rows[-1], flush=True)
            options.out.write_text(json.dumps({"policy": POLICY.model_dump(), "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
