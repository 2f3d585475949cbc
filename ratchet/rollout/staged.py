"""The staged rollout: staging, a canary that must agree with what is known, production, proof, or the way back.

The registry's rows are the truth and the server follows them; so each step changes the registry first and then waits
for the server. A rollout that was interrupted is run again: what was done already is recognised.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from ratchet.clock import NS_PER_S, Clock
from ratchet.errors import (
    ArtifactError,
    CandidateRejectedError,
    InputError,
    NotFoundError,
    RatchetError,
    RegistryConflictError,
)
from ratchet.registry import ModelRegistry, ModelVersion
from ratchet.registry.golden import Golden
from ratchet.rollout.canary import disagreement
from ratchet.rollout.health import TOLERANCE, health_check_after_deployment, rollback_to_previous
from ratchet.rollout.report import RolloutPlan, RolloutReport, Step, StepName, Verdict
from ratchet.rollout.served import ServedModels

_POLL_S = 0.2


def deploy_model(
    registry: ModelRegistry,
    served: ServedModels,
    version: ModelVersion,
    *,
    golden: Golden,
    clock: Clock,
    actor: str,
    sleep: Callable[[float], None],
    wait_s: float = 30.0,
    tolerance: float = TOLERANCE,
) -> RolloutReport:
    """Bring an approved version into production in steps that each can stop it.

    1. stage: the registry puts it into staging.
    2. canary: the server must answer the golden windows with this version and the registered p_up.
    3. promote: the registry puts it into production, unless the model moved on meanwhile.
    4. confirm: the server must report it in production.
    5. health: the golden windows again, through the production door.

    A wrong answer, or a version that the server cannot load, ends in ROLLBACK: the version loses its stage. A server
    that cannot be reached ends in HOLD before step 3 (it stays in staging, production is untouched) and in ROLLBACK
    after it: in doubt the old model stays. Run for a version that is in production already, it does steps 4 and 5,
    and an unreachable server changes nothing.

    Args:
        registry: where the stages are kept.
        served: the model server that follows the registry.
        version: what to roll out.
        golden: windows and the answers that the version gave when it was registered.
        clock: stamps the report and limits the waiting.
        actor: who rolls out, for the registry's history.
        sleep: waits for some seconds.
        wait_s: how long the server may take to pick up a version.
        tolerance: largest accepted difference of p_up.

    Raises:
        RegistryConflictError: the gate did not approve the version, or it is retired.
        NotFoundError: there is no such version.
        TransientError: the registry is busy or unavailable; run the rollout again.
    """
    current = registry.get_model(version.name, version.version)
    if not current.is_approved:
        raise RegistryConflictError(
            f"{current.name} {current.version} may not be rolled out: "
            f"the gate's verdict is {current.gate_verdict or 'missing'}"
        )
    plan = RolloutPlan(
        model=current.name,
        version=current.version,
        replaces=_production(registry, current.name),
        wait_s=wait_s,
        tolerance=tolerance,
        poll_s=_POLL_S,
    )
    rollout = _Rollout(
        registry=registry,
        served=served,
        version=current,
        golden=golden,
        plan=plan,
        clock=clock,
        actor=actor,
        sleep=sleep,
        started_ns=clock.now_ns(),
    )
    return rollout.run()


class _Stop(Exception):  # noqa: N818 - a signal between the steps, not an error
    def __init__(self, verdict: Verdict, reason: str) -> None:
        super().__init__(reason)
        self.verdict = verdict
        self.reason = reason


@dataclass(kw_only=True)
class _Rollout:
    registry: ModelRegistry
    served: ServedModels
    version: ModelVersion
    golden: Golden
    plan: RolloutPlan
    clock: Clock
    actor: str
    sleep: Callable[[float], None]
    started_ns: int
    steps: list[Step] = field(default_factory=list)

    def run(self) -> RolloutReport:
        was_live = self.version.stage == "production"
        was_healthy = self.served.is_healthy()
        try:
            if not was_live:
                self._step("stage", self._stage)
                self._step("canary", self._canary)
                self._step("promote", self._promote)
        except _Stop as stop:
            return self._stop(stop, self._withdraw, is_hold=stop.verdict is Verdict.HOLD)
        try:
            self._step("confirm", self._confirm)
            self._step("health", lambda: self._health(was_healthy))
        except _Stop as stop:
            return self._stop(stop, self._put_back, is_hold=was_live and stop.verdict is Verdict.HOLD)
        return self._report(Verdict.PROMOTE, f"{self.version.version} answers in production; {self._n_golden} agree")

    @property
    def _n_golden(self) -> str:
        return f"{len(self.golden.p_up)} golden windows"

    def _stage(self) -> str:
        self.registry.set_staging_model(
            self.plan.model, self.plan.version, actor=self.actor, reason="rollout: ready for the canary"
        )
        return "in staging"

    def _canary(self) -> str:
        self._await(self._is_staged_on_server)
        with self._stopping():
            problem = disagreement(self.served, self.version, self.golden, "staging", self.plan.tolerance)
        if problem is not None:
            raise _Stop(Verdict.ROLLBACK, problem)
        return f"{self._n_golden} agree"

    def _promote(self) -> str:
        try:
            self.registry.set_production_model(
                self.plan.model,
                self.plan.version,
                actor=self.actor,
                reason=f"rollout: canary agreed on {self._n_golden}",
                expected_epoch=self._last_epoch(),
            )
        except RegistryConflictError as error:
            raise _Stop(Verdict.HOLD, str(error)) from error
        return f"in production, replaces {self.plan.replaces or 'nothing'}"

    def _confirm(self) -> str:
        self._await(self._is_live_on_server)
        return "the server reports it in production"

    def _health(self, was_healthy: bool) -> str:
        tolerance = self.plan.tolerance
        problem = health_check_after_deployment(self.served, self.version, self.golden, tolerance=tolerance)
        if problem is None and was_healthy and not self.served.is_healthy():
            problem = "the server was healthy before and is not now"
        if problem is not None:
            with self._stopping():
                self.served.production_version(self.plan.model)
            raise _Stop(Verdict.ROLLBACK, problem)
        return f"{self._n_golden} agree through the production door"

    def _is_staged_on_server(self) -> str | None:
        self._reload()
        view = self.served.predict(window=self.golden.windows[0], model=self.plan.model, stage="staging")
        if view.version == self.plan.version:
            return None
        return f"the server's staging door still answers with {view.version}"

    def _is_live_on_server(self) -> str | None:
        self._reload()
        live = self.served.production_version(self.plan.model)
        return None if live == self.plan.version else f"the server still has {live or 'no version'} in production"

    def _reload(self) -> None:
        for failure in self.served.reload().failures:
            if (failure.model, failure.version) == (self.plan.model, self.plan.version):
                raise _Stop(Verdict.ROLLBACK, f"the server cannot load it: {failure.error}")

    def _await(self, ask: Callable[[], str | None]) -> None:
        deadline_ns = self.clock.now_ns() + int(self.plan.wait_s * NS_PER_S)
        complaint: str | None = None
        # Counted as well as timed, so that a clock that stands still cannot make it wait for ever.
        for _ in range(math.ceil(self.plan.wait_s / self.plan.poll_s) + 1):
            try:
                with self._stopping():
                    complaint = ask()
            except _Stop as stop:
                if stop.verdict is Verdict.ROLLBACK:
                    raise
                complaint = stop.reason
            if complaint is None:
                return
            if self.clock.now_ns() >= deadline_ns:
                break
            self.sleep(self.plan.poll_s)
        raise _Stop(Verdict.HOLD, f"after {self.plan.wait_s:g} s: {complaint}")

    @contextmanager
    def _stopping(self) -> Iterator[None]:
        # A window that the server refuses proves that the version is wrong; no answer at all proves nothing.
        try:
            yield
        except (InputError, CandidateRejectedError) as error:
            raise _Stop(Verdict.ROLLBACK, str(error)) from error
        except RatchetError as error:
            raise _Stop(Verdict.HOLD, str(error)) from error

    def _stop(self, stop: _Stop, undo: Callable[[str], str], *, is_hold: bool) -> RolloutReport:
        if is_hold:
            return self._report(Verdict.HOLD, stop.reason)
        # Where somebody else decided meanwhile, the step is reported as failed, with what is live now.
        with suppress(RegistryConflictError):
            self._step("rollback", lambda: undo(f"rollout stopped: {stop.reason}"))
        return self._report(Verdict.ROLLBACK, stop.reason)

    def _withdraw(self, reason: str) -> str:
        name, version = self.plan.model, self.plan.version
        self.registry.withdraw_model(name, version, actor=self.actor, reason=reason, expected_epoch=self._last_epoch())
        return "withdrawn"

    def _put_back(self, reason: str) -> str:
        epoch = self._last_epoch()
        try:
            restored = rollback_to_previous(
                self.registry, self.served, self.plan.model, actor=self.actor, reason=reason, expected_epoch=epoch
            )
        except ArtifactError as error:
            # No model at all makes bots abstain; a model that failed its check does not.
            return f"{self._withdraw(reason)}; the earlier version cannot be put back: {error}"
        return f"{restored.version} is in production again" if restored else "withdrawn; there is no earlier version"

    def _last_epoch(self) -> int:
        # The epoch at which this version got its stage: whatever happened to the model since then is a conflict.
        events = self.registry.history(self.plan.model)
        return max(event.epoch for event in events if event.version == self.plan.version)

    def _step(self, name: StepName, action: Callable[[], str]) -> None:
        started_ns = self.clock.now_ns()
        passed, detail = False, "interrupted"
        try:
            detail = action()
            passed = True
        except (_Stop, RatchetError) as error:
            detail = str(error)
            raise
        finally:
            ended_ns = self.clock.now_ns()
            self.steps.append(Step(name=name, passed=passed, detail=detail, started_ns=started_ns, ended_ns=ended_ns))

    def _report(self, verdict: Verdict, reason: str) -> RolloutReport:
        return RolloutReport(
            plan=self.plan,
            verdict=verdict,
            reason=reason,
            in_production=_production(self.registry, self.plan.model),
            steps=tuple(self.steps),
            started_ns=self.started_ns,
            ended_ns=self.clock.now_ns(),
        )


def _production(registry: ModelRegistry, name: str) -> str | None:
    try:
        return registry.get_model(name, "production").version
    except NotFoundError:
        return None
