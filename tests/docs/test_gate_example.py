"""The example of a gate policy is what its comments say: the defaults, and two stricter choices."""

from __future__ import annotations

import json
from pathlib import Path

from ratchet.evaluation.policy import GatePolicy, load_policy

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "gate.toml"
REFERENCE = EXAMPLE.parents[1] / "docs" / "reference" / "policy.md"


def test_the_example_is_the_defaults_and_two_stricter_choices() -> None:
    """Only the deflated Sharpe ratio and the demand against logistic regression differ from `GatePolicy()`."""
    default = GatePolicy()
    baselines = default.baselines | {"logistic": "better"}
    assert load_policy(EXAMPLE) == default.model_copy(update={"min_deflated_sharpe": 0.95, "baselines": baselines})


def test_the_example_names_every_field() -> None:
    """Whoever reads the example sees every choice there is, set or commented out."""
    text = EXAMPLE.read_text(encoding="utf-8")
    assert [name for name in GatePolicy.model_fields if f"{name} = " not in text and f"[{name}]" not in text] == []


def test_the_reference_has_a_row_for_every_field_with_its_default() -> None:
    """The first table of docs/reference/policy.md names exactly the fields that a policy has, and their defaults."""
    table = REFERENCE.read_text(encoding="utf-8").partition("## ")[0]
    cells = [line.split(" | ") for line in table.splitlines() if line.startswith("| `")]
    documented = {row[0].strip("| `"): row[1].strip("`") for row in cells}
    defaults = json.loads(GatePolicy().model_dump_json())
    shown = {name: "unset" if value is None else json.dumps(value) for name, value in defaults.items()}
    assert documented == shown | {"baselines": "see below"}
