"""The gate's policy: a declaration that says what it means, or is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from ratchet.errors import ConfigurationError
from ratchet.evaluation.policy import GatePolicy, load_policy


def test_the_defaults_are_the_owners_four_criteria() -> None:
    """Two points of accuracy, the champion's Sharpe ratio, five milliseconds, five points of training gap."""
    policy = load_policy(None)
    assert (policy.policy, policy.min_accuracy_gain, policy.accuracy_gain_unit) == ("significant", 0.02, "points")
    assert (policy.max_latency_p99_ms, policy.max_train_gap) == (5.0, 0.05)
    assert set(policy.baselines) == {"majority", "last_sign", "logistic", "gradient_boosting"}
    assert policy.require_probes
    assert policy.require_infra_check


def test_a_file_changes_what_it_names(tmp_path: Path) -> None:
    """Keys of the file replace defaults; the rest stays."""
    path = tmp_path / "gate.toml"
    path.write_text(
        'policy = "strict"\nmin_accuracy_gain = 0.01\nmax_pbo = 0.5\nslices = ["hour"]\n\n'
        '[baselines]\ngradient_boosting = "better"\n'
    )
    policy = load_policy(path)
    assert policy == GatePolicy(
        policy="strict",
        min_accuracy_gain=0.01,
        max_pbo=0.5,
        slices=("hour",),
        baselines={"gradient_boosting": "better"},
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("min_accuracy_gian = 0.02", "min_accuracy_gian: Extra inputs"),
        ("min_accuracy_gain = 2", "min_accuracy_gain: Input should be less than 1"),
        ('policy = "lenient"', "policy: Input should be 'point'"),
        ('baselines = {coin = "better"}', "no baseline coin; there are majority"),
        ("policy = ", "not TOML"),
        ("\udcff", "not TOML"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    """A misspelt key would silently leave the default in force; it is an error that names file and key."""
    path = tmp_path / "gate.toml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(ConfigurationError, match=reason) as caught:
        load_policy(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    """A policy that was asked for and is not there does not become the default."""
    with pytest.raises(ConfigurationError, match="No such file"):
        load_policy(tmp_path / "gate.toml")
