"""The staged rollout on a real registry, with a model server whose faults are switches."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ratchet.clock import NS_PER_S, FixedClock
from ratchet.errors import ArtifactError, InputError, NotFoundError, RegistryConflictError
from ratchet.registry import FileRegistry, ModelVersion
from ratchet.rollout import (
    Golden,
    RolloutReport,
    ServedModels,
    Verdict,
    deploy_model,
    health_check_after_deployment,
    read_golden,
    rollback_to_previous,
)
from ratchet.testing import InMemoryServedModels
from ratchet.testing.gate import gate_report

WHO: Any = {"actor": "test", "reason": "to see"}
WINDOWS = (np.arange(12).reshape(2, 3, 2) / 12).astype(np.float32)
P_UP = np.array([0.25, 0.75])


def answer(_: ModelVersion, window: NDArray[np.float32]) -> float:
    """Answer the golden windows as they were answered at registration."""
    return float(P_UP[0] if window[0, 0] < 0.5 else P_UP[1])


@pytest.fixture
def golden() -> Golden:
    return Golden(WINDOWS, P_UP)


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(0)


@pytest.fixture
def registry(clock: FixedClock, tmp_path: Path) -> Iterator[FileRegistry]:
    with FileRegistry(tmp_path / "registry", f"sqlite:///{tmp_path / 'registry.sqlite'}", clock) as registry:
        yield registry


@pytest.fixture
def served(registry: FileRegistry) -> InMemoryServedModels:
    return InMemoryServedModels(registry, answer)


@pytest.fixture
def deploy(registry: FileRegistry, golden: Golden, clock: FixedClock) -> Callable[..., RolloutReport]:
    def run(served: ServedModels, version: ModelVersion) -> RolloutReport:
        return deploy_model(
            registry,
            served,
            version,
            golden=golden,
            clock=clock,
            actor="test",
            sleep=lambda seconds: clock.advance(int(seconds * NS_PER_S)),
            wait_s=2.0,
        )

    return run


def register(registry: FileRegistry, verdict: str = "approve") -> ModelVersion:
    files: dict[str, Path | bytes] = {
        "model.onnx": b"onnx",
        "golden.json": json.dumps({"windows": WINDOWS.tolist(), "p_up": P_UP.tolist()}).encode(),
        "gate.json": gate_report(b"onnx", verdict),
    }
    return registry.register_model("btc", files, {}, {}, **WHO)


def steps(report: RolloutReport) -> list[tuple[str, bool]]:
    return [(step.name, step.passed) for step in report.steps]


Deploy = Callable[[ServedModels, ModelVersion], RolloutReport]
INTRODUCED = [("stage", True), ("canary", True), ("promote", True)]


def test_a_good_version_reaches_production(
    registry: FileRegistry, served: InMemoryServedModels, deploy: Deploy
) -> None:
    """All five steps pass, the report says what was replaced, and the history says who did it and why."""
    deploy(served, register(registry))
    report = deploy(served, register(registry))
    assert steps(report) == [*INTRODUCED, ("confirm", True), ("health", True)]
    assert (report.verdict, report.in_production, report.plan.replaces) == (Verdict.PROMOTE, "v1.1.0", "v1.0.0")
    assert served.production_version("btc") == "v1.1.0"
    assert [(event.kind, event.actor) for event in registry.history()][-2:] == [("stage", "test"), ("promote", "test")]
    assert RolloutReport.model_validate_json(report.model_dump_json()) == report


def test_a_rollout_that_is_run_again_changes_nothing(
    registry: FileRegistry, served: InMemoryServedModels, deploy: Deploy
) -> None:
    """For a version that is live already only the proof is repeated."""
    deploy(served, register(registry))
    epoch = registry.epoch()
    report = deploy(served, registry.get_model("btc"))
    assert (steps(report), report.verdict) == ([("confirm", True), ("health", True)], Verdict.PROMOTE)
    assert registry.epoch() == epoch


def test_an_unreachable_server_leaves_production_untouched(
    registry: FileRegistry, served: InMemoryServedModels, deploy: Deploy, clock: FixedClock
) -> None:
    """The version waits in staging, and the same rollout succeeds once the server is back."""
    deploy(served, register(registry))
    version = register(registry)
    served.is_down = True
    report = deploy(served, version)
    assert (report.verdict, report.in_production) == (Verdict.HOLD, "v1.0.0")
    assert steps(report) == [("stage", True), ("canary", False)]
    assert "down" in report.reason
    assert report.ended_ns - report.started_ns <= 3 * NS_PER_S
    assert registry.get_model("btc", "staging") == registry.get_model("btc", "v1.1.0")
    served.is_down = False
    assert deploy(served, version).verdict is Verdict.PROMOTE
    assert clock.now_ns() > 0


def test_a_wrong_canary_answer_takes_the_version_out_of_staging(
    registry: FileRegistry, served: InMemoryServedModels, deploy: Deploy
) -> None:
    """A staged version that answers unlike at registration, or not finitely, never reaches production."""
    deploy(served, register(registry))
    for wrong in (0.2502, float("nan")):
        version = register(registry)
        served.answer = lambda asked, window, wrong=wrong: (  # type: ignore[misc]
            answer(asked, window) if asked.version == "v1.0.0" or window[0, 0] >= 0.5 else wrong
        )
        report = deploy(served, version)
        assert (report.verdict, report.in_production) == (Verdict.ROLLBACK, "v1.0.0")
        assert steps(report) == [("stage", True), ("canary", False), ("rollback", True)]
        assert "golden window 0" in report.reason
        assert registry.get_model("btc", version.version).stage == "archived"


def test_a_version_that_the_server_refuses_is_withdrawn_at_once(
    registry: FileRegistry, served: InMemoryServedModels, deploy: Deploy, clock: FixedClock
) -> None:
    """A load failure on the server ends the rollout without waiting, with the server's own words."""
    deploy(served, register(registry))
    served.refused["v1.1.0"] = "needs 67 features"
    before_ns = clock.now_ns()
    report = deploy(served, register(registry))
    assert (report.verdict, report.in_production) == (Verdict.ROLLBACK, "v1.0.0")
    assert "needs 67 features" in report.reason
    assert clock.now_ns() == before_ns


def test_a_window_that_does_not_fit_the_model_is_a_failed_canary(registry: FileRegistry, deploy: Deploy) -> None:
    """An input error of the server on a golden window is the version's fault, not the network's."""

    def refuse(_: ModelVersion, window: NDArray[np.float32]) -> float:
        raise InputError(f"needs (3, 4), got {window.shape}")

    report = deploy(InMemoryServedModels(registry, refuse), register(registry))
    assert (report.verdict, report.in_production) == (Verdict.ROLLBACK, None)
    assert steps(report)[-1] == ("rollback", True)


def test_a_server_that_does_not_follow_is_answered_by_a_rollback(
    registry: FileRegistry, served: InMemoryServedModels, deploy: Deploy
) -> None:
    """When the server never reports the new production version, the old one is put back."""
    deploy(served, register(registry))
    served.lags_in_production = True
    report = deploy(served, register(registry))
    assert steps(report) == [*INTRODUCED, ("confirm", False), ("rollback", True)]
    assert (report.verdict, report.in_production) == (Verdict.ROLLBACK, "v1.0.0")
    assert registry.history()[-1].kind == "rollback"
    assert report.reason in registry.history()[-1].reason


class BrokenInProduction(InMemoryServedModels):
    """Right through the staging door, wrong through the production door."""

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        view = super().predict(*args, **kwargs)
        return type(view)(1 - view.p_up, view.model, view.version, view.stage) if view.stage == "production" else view


def test_wrong_answers_in_production_are_rolled_back(registry: FileRegistry, deploy: Deploy) -> None:
    """The last check asks the production door itself; without an earlier version production is left empty."""
    report = deploy(BrokenInProduction(registry, answer), register(registry))
    assert steps(report) == [*INTRODUCED, ("confirm", True), ("health", False), ("rollback", True)]
    assert (report.verdict, report.in_production) == (Verdict.ROLLBACK, None)
    registry.set_production_model("btc", "v1.0.0", **WHO)
    assert deploy(BrokenInProduction(registry, answer), register(registry)).in_production == "v1.0.0"


def test_without_an_intact_earlier_version_production_is_left_empty(
    registry: FileRegistry, served: InMemoryServedModels, deploy: Deploy, tmp_path: Path
) -> None:
    """When the files of the version to go back to are damaged, no model is served rather than a wrong one."""
    deploy(served, register(registry))
    (tmp_path / "registry" / "btc" / "v1.0.0" / "model.onnx").write_bytes(b"damaged")
    report = deploy(BrokenInProduction(registry, answer), register(registry))
    assert (report.verdict, report.in_production) == (Verdict.ROLLBACK, None)
    assert "altered" in report.steps[-1].detail


def test_a_decision_of_somebody_else_wins(registry: FileRegistry, deploy: Deploy) -> None:
    """When another version went to production during the canary, the rollout holds and does not overwrite it."""
    first, second = register(registry), register(registry)

    def interfere(version: ModelVersion, window: NDArray[np.float32]) -> float:
        registry.set_production_model("btc", first.version, actor="ann", reason="by hand")
        return answer(version, window)

    report = deploy(InMemoryServedModels(registry, interfere), second)
    assert (report.verdict, report.in_production) == (Verdict.HOLD, "v1.0.0")
    assert "by ann" in report.reason
    assert steps(report)[-1] == ("promote", False)


@pytest.mark.parametrize("verdict", ["reject", "inconclusive"])
def test_an_unapproved_version_is_not_even_staged(
    registry: FileRegistry, served: InMemoryServedModels, deploy: Deploy, verdict: str
) -> None:
    """Without the gate's approval the rollout refuses before it touches anything."""
    version = register(registry, verdict)
    with pytest.raises(RegistryConflictError, match=verdict):
        deploy(served, version)
    assert registry.get_model("btc").stage == "none"


def test_a_live_version_survives_an_unreachable_server(
    registry: FileRegistry, served: InMemoryServedModels, deploy: Deploy
) -> None:
    """Proving a version that is live already never takes it down because the server is away."""
    version = register(registry)
    deploy(served, version)
    served.is_down = True
    report = deploy(served, version)
    assert (report.verdict, report.in_production) == (Verdict.HOLD, "v1.0.0")


def test_rollback_tells_the_server(registry: FileRegistry, served: InMemoryServedModels, deploy: Deploy) -> None:
    """After a rollback the server answers with the earlier version; a server that is away does not stop it."""
    for _ in range(3):
        deploy(served, register(registry))
    restored = rollback_to_previous(registry, served, "btc", **WHO)
    assert restored is not None
    assert served.production_version("btc") == restored.version == "v1.1.0"
    served.is_down = True
    restored = rollback_to_previous(registry, served, "btc", **WHO)
    assert restored is not None
    assert restored.version == registry.get_model("btc", "production").version == "v1.0.0"
    assert rollback_to_previous(registry, served, "btc", **WHO) is None
    with pytest.raises(NotFoundError):
        rollback_to_previous(registry, served, "btc", **WHO)


def test_the_health_check_says_what_is_wrong(
    registry: FileRegistry, served: InMemoryServedModels, deploy: Deploy, golden: Golden
) -> None:
    """Another version in production, an unreachable server and a wrong answer are told apart."""
    old, new = register(registry), register(registry)
    deploy(served, old)
    assert health_check_after_deployment(served, old, golden) is None
    assert health_check_after_deployment(served, new, golden) == (
        "the server has v1.0.0 in production instead of v1.1.0"
    )
    served.is_down = True
    assert health_check_after_deployment(served, old, golden) == "the server is down"
    served.is_down = False
    wrong = health_check_after_deployment(served, old, Golden(WINDOWS, 1 - P_UP))
    assert wrong is not None
    assert "instead of 0.750000" in wrong


def test_golden_windows_are_read_from_the_registry(registry: FileRegistry) -> None:
    """What was registered comes back as arrays, and a malformed file is an artifact error."""
    golden = read_golden(registry, register(registry))
    np.testing.assert_array_equal(golden.windows, WINDOWS)
    np.testing.assert_array_equal(golden.p_up, P_UP)
    for content in (b"{}", b'{"windows": [[[1.0]]], "p_up": [0.1, 0.2]}', b'{"windows": [[[1], [1, 2]]], "p_up": [1]}'):
        version = registry.register_model("btc", {"model.onnx": b"", "golden.json": content}, {}, {}, **WHO)
        with pytest.raises(ArtifactError, match="golden"):
            read_golden(registry, version)
    with pytest.raises(InputError, match="golden"):
        Golden(WINDOWS[0], P_UP)
