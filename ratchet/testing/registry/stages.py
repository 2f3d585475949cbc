"""What every model registry must do with stages: promotion, rollback, withdrawal, retirement, evidence."""
# ruff: noqa: S101 - a contract suite asserts

from __future__ import annotations

import pytest

from ratchet.errors import NotFoundError, RegistryConflictError
from ratchet.registry import ModelRegistry, ModelVersion, Stage
from ratchet.registry.base import EventKind
from ratchet.registry.change import TRANSITIONS
from ratchet.testing.registry.steps import WHO, promote, register, stages

STAGES: tuple[Stage, ...] = ("none", "staging", "production", "archived")
CHANGES: tuple[tuple[EventKind, Stage], ...] = (
    ("stage", "staging"),
    ("promote", "production"),
    ("rollback", "production"),
    ("withdraw", "archived"),
    ("retire", "archived"),
)


class StagesContract:
    """The state machine."""

    def test_each_change_is_allowed_from_the_stages_of_the_table_and_no_other(self, registry: ModelRegistry) -> None:
        """Every change from every stage ends in the stage that `TRANSITIONS` names, or is refused and changes nothing.

        A change that is in effect already is none, whatever the table says.
        """
        for stage in STAGES:
            for kind, after in CHANGES:
                name = f"{stage}-{kind}"
                version = _in_stage(registry, name, stage, kind)
                epoch = registry.epoch()
                expected = TRANSITIONS.get((stage, kind))
                assert expected in {None, after}
                if stage == after and kind not in {"rollback", "retire"}:
                    assert _change(registry, kind, version).stage == stage
                    assert registry.epoch() == epoch
                elif expected is None:
                    with pytest.raises(RegistryConflictError):
                        _change(registry, kind, version)
                    assert registry.epoch() == epoch
                else:
                    _change(registry, kind, version)
                    assert registry.get_model(name, version.version).stage == expected
                    assert registry.epoch() == epoch + 1

    def test_registering_changes_no_stage(self, registry: ModelRegistry) -> None:
        """A newer version, approved or not, leaves production alone."""
        promote(registry, register(registry))
        register(registry)
        register(registry, verdict="reject")
        assert stages(registry) == {"v1.0.0": "production", "v1.1.0": "none", "v1.2.0": "none"}

    def test_promotion_archives_the_former_production(self, registry: ModelRegistry) -> None:
        """Exactly one version is in production, and the one before is the one to roll back to."""
        first, second = register(registry), register(registry)
        promote(registry, first)
        result = promote(registry, second)
        assert result == registry.get_model("btc", "production")
        assert stages(registry) == {"v1.0.0": "archived", "v1.1.0": "production"}
        assert registry.get_model("btc", "previous").version == "v1.0.0"

    def test_only_approved_versions_reach_production(self, registry: ModelRegistry) -> None:
        """Without the gate's approval promotion is refused and nothing changes; what metadata say is no evidence."""
        promote(registry, register(registry))
        for verdict in (None, "reject", "inconclusive"):
            refused = register(registry, verdict=verdict, metadata={"gate": {"verdict": "approve"}})
            assert (refused.gate_verdict, refused.is_approved) == (verdict, False)
            epoch = registry.epoch()
            with pytest.raises(RegistryConflictError, match=f"gate's verdict is {verdict or 'missing'}"):
                promote(registry, refused)
            assert registry.epoch() == epoch
        assert registry.get_model("btc", "production").version == "v1.0.0"

    def test_staging_needs_a_gate_that_did_not_reject(self, registry: ModelRegistry) -> None:
        """A version can be staged while the gate cannot tell, not where it rejected it or was never asked."""
        for verdict in (None, "reject"):
            refused = register(registry, verdict=verdict)
            with pytest.raises(RegistryConflictError, match=f"gate's verdict is {verdict or 'missing'}"):
                registry.set_staging_model("btc", refused.version, **WHO)
        undecided = register(registry, verdict="inconclusive")
        assert registry.set_staging_model("btc", undecided.version, **WHO).stage == "staging"

    def test_staging_holds_one_version(self, registry: ModelRegistry) -> None:
        """A newly staged version displaces the one before, and promotion empties staging."""
        first, second = register(registry), register(registry)
        registry.set_staging_model("btc", first.version, **WHO)
        registry.set_staging_model("btc", second.version, **WHO)
        assert stages(registry) == {"v1.0.0": "archived", "v1.1.0": "staging"}
        promote(registry, second)
        assert stages(registry) == {"v1.0.0": "archived", "v1.1.0": "production"}
        with pytest.raises(RegistryConflictError, match="in production"):
            registry.set_staging_model("btc", second.version, **WHO)

    def test_rollback_goes_back_one_version_each_time(self, registry: ModelRegistry) -> None:
        """Rollback undoes promotions in reverse order, a repeated version included, and then refuses."""
        for _ in range(3):
            register(registry)
        for number in ("v1.0.0", "v1.1.0", "v1.0.0", "v1.2.0"):
            registry.set_production_model("btc", number, **WHO)
        seen = [registry.rollback_to_previous("btc", **WHO).version for _ in range(3)]
        assert seen == ["v1.0.0", "v1.1.0", "v1.0.0"]
        with pytest.raises(RegistryConflictError, match="no earlier"):
            registry.rollback_to_previous("btc", **WHO)
        assert stages(registry) == {"v1.0.0": "production", "v1.1.0": "archived", "v1.2.0": "archived"}

    def test_rollback_never_puts_back_what_is_live_or_was_withdrawn(self, registry: ModelRegistry) -> None:
        """A version that returned after a withdrawal is not its own predecessor, nor is one that is withdrawn twice."""
        for _ in range(2):
            register(registry)
        registry.set_production_model("btc", "v1.0.0", **WHO)
        registry.set_production_model("btc", "v1.1.0", **WHO)
        registry.withdraw_model("btc", "v1.1.0", **WHO)
        registry.set_production_model("btc", "v1.0.0", **WHO)
        with pytest.raises(RegistryConflictError, match="no earlier"):
            registry.rollback_to_previous("btc", **WHO)
        registry.withdraw_model("btc", "v1.0.0", **WHO)
        with pytest.raises(RegistryConflictError, match="no earlier"):
            registry.rollback_to_previous("btc", **WHO)

    def test_a_rolled_back_version_can_return(self, registry: ModelRegistry) -> None:
        """After a rollback the version that was taken down may be promoted again."""
        for _ in range(2):
            promote(registry, register(registry))
        registry.rollback_to_previous("btc", **WHO)
        registry.set_production_model("btc", "v1.1.0", **WHO)
        assert registry.get_model("btc", "previous").version == "v1.0.0"

    def test_withdrawing_leaves_the_stage_empty(self, registry: ModelRegistry) -> None:
        """Withdrawing from production leaves none, and rollback still knows what was there before."""
        for _ in range(2):
            promote(registry, register(registry))
        staged = register(registry)
        with pytest.raises(RegistryConflictError, match="neither"):
            registry.withdraw_model("btc", staged.version, **WHO)
        registry.set_staging_model("btc", staged.version, **WHO)
        assert registry.withdraw_model("btc", staged.version, **WHO).stage == "archived"
        registry.withdraw_model("btc", "v1.1.0", **WHO)
        with pytest.raises(NotFoundError):
            registry.get_model("btc", "production")
        assert registry.rollback_to_previous("btc", **WHO).version == "v1.0.0"

    def test_retired_versions_never_return(self, registry: ModelRegistry) -> None:
        """A retired version can be neither staged nor promoted, and rollback passes over it."""
        for _ in range(3):
            promote(registry, register(registry))
        assert registry.retire_model("btc", "v1.0.0", **WHO).is_retired
        for change in (registry.set_staging_model, registry.set_production_model):
            with pytest.raises(RegistryConflictError, match="retired"):
                change("btc", "v1.0.0", **WHO)
        assert registry.rollback_to_previous("btc", **WHO).version == "v1.1.0"
        with pytest.raises(RegistryConflictError, match="no earlier"):
            registry.rollback_to_previous("btc", **WHO)

    def test_versions_in_use_cannot_be_retired(self, registry: ModelRegistry) -> None:
        """Production, staging and the version to roll back to are protected; others can go."""
        for _ in range(2):
            promote(registry, register(registry))
        registry.set_staging_model("btc", register(registry).version, **WHO)
        for number in ("v1.0.0", "v1.1.0", "v1.2.0"):
            with pytest.raises(RegistryConflictError):
                registry.retire_model("btc", number, **WHO)
        rejected = register(registry, verdict="reject")
        retired = registry.retire_model("btc", rejected.version, **WHO)
        assert (retired.stage, retired.is_retired) == ("archived", True)


def _in_stage(registry: ModelRegistry, name: str, stage: Stage, kind: EventKind) -> ModelVersion:
    """Register a version that is in `stage`; a change of this kind finds nothing in its way but the stage."""
    version = register(registry, name)
    if stage in {"staging", "archived"}:
        promote(registry, version)
        promote(registry, register(registry, name))
        if kind == "retire":
            promote(registry, register(registry, name))
    if stage == "production":
        promote(registry, version)
    if stage == "staging":
        registry.set_staging_model(name, version.version, **WHO)
    return registry.get_model(name, version.version)


def _change(registry: ModelRegistry, kind: EventKind, version: ModelVersion) -> ModelVersion:
    match kind:
        case "stage":
            return registry.set_staging_model(version.name, version.version, **WHO)
        case "promote":
            return promote(registry, version)
        case "withdraw":
            return registry.withdraw_model(version.name, version.version, **WHO)
        case "retire":
            return registry.retire_model(version.name, version.version, **WHO)
    return registry.rollback_to_previous(version.name, **WHO)
