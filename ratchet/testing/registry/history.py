"""What every model registry must do with its history: epochs, hashes, pointers and retention."""
# ruff: noqa: S101 - a contract suite asserts

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable

import pytest

from ratchet.clock import FixedClock
from ratchet.errors import ArtifactError, InputError, NotFoundError, RegistryConflictError
from ratchet.registry import ModelRegistry, production_at
from ratchet.testing.registry.steps import WHO, error_of, promote, register


class HistoryContract:
    """One history, and what it protects."""

    def test_a_pointer_is_on_one_version_and_protects_it(self, registry: ModelRegistry) -> None:
        """A pointer moves from version to version, is found by its name, and keeps its version from retirement."""
        first, second = register(registry), register(registry)
        assert registry.pointers("btc") == {}
        assert registry.set_pointer("btc", "challenger", first.version, **WHO) == first
        registry.set_pointer("btc", "experiment-7", second.version, **WHO)
        registry.set_pointer("btc", "challenger", second.version, **WHO)
        assert registry.pointers("btc") == {"challenger": "v1.1.0", "experiment-7": "v1.1.0"}
        assert registry.get_model("btc", "challenger") == second
        with pytest.raises(NotFoundError, match="experiment-8"):
            registry.get_model("btc", "experiment-8")
        with pytest.raises(RegistryConflictError, match="challenger, experiment-7"):
            registry.retire_model("btc", second.version, **WHO)
        registry.release_pointer("btc", "challenger", **WHO)
        registry.release_pointer("btc", "experiment-7", **WHO)
        assert registry.pointers("btc") == {}
        assert registry.retire_model("btc", second.version, **WHO).is_retired
        with pytest.raises(RegistryConflictError, match="retired"):
            registry.set_pointer("btc", "challenger", second.version, **WHO)
        assert [
            (event.kind, event.pointer, event.version, event.previous) for event in registry.history("btc")[2:]
        ] == [
            ("point", "challenger", "v1.0.0", None),
            ("point", "experiment-7", "v1.1.0", None),
            ("point", "challenger", "v1.1.0", "v1.0.0"),
            ("release", "challenger", "v1.1.0", "v1.1.0"),
            ("release", "experiment-7", "v1.1.0", "v1.1.0"),
            ("retire", None, "v1.1.0", None),
        ]

    def test_pointers_change_no_stage_and_twice_is_once(self, registry: ModelRegistry) -> None:
        """Pointers neither disturb an expected epoch nor write an event for what is in effect."""
        first = register(registry)
        epoch = registry.epoch()
        registry.set_pointer("btc", "challenger", first.version, **WHO)
        after = registry.epoch()
        registry.set_pointer("btc", "challenger", first.version, **WHO)
        registry.release_pointer("btc", "experiment-none", **WHO)
        assert registry.epoch() == after == epoch + 1
        registry.set_production_model("btc", first.version, **WHO, expected_epoch=epoch)
        promote(registry, register(registry))
        registry.set_staging_model("btc", register(registry).version, **WHO)
        assert registry.pointers("btc") == {
            "challenger": "v1.0.0",
            "previous": "v1.0.0",
            "production": "v1.1.0",
            "staging": "v1.2.0",
        }

    def test_malformed_pointers_are_refused(self, registry: ModelRegistry) -> None:
        """A pointer can be mistaken neither for a stage nor for a path."""
        register(registry)
        for pointer in (
            "",
            "production",
            "previous",
            "latest",
            "v1.0.0",
            "experiment-",
            "experiment-../x",
            "Challenger",
        ):
            for refused in (
                lambda pointer: registry.set_pointer("btc", pointer, "v1.0.0", **WHO),
                lambda pointer: registry.release_pointer("btc", pointer, **WHO),
            ):
                assert error_of(refused, pointer) is InputError, pointer
        with pytest.raises(NotFoundError):
            registry.set_pointer("btc", "challenger", "v7.0.0", **WHO)

    def test_retention_keeps_what_is_new_or_referred_to(self, registry: ModelRegistry) -> None:
        """Production, staging, pointers, the version to roll back to and the newest keep their files, others do not."""
        for _ in range(7):
            register(registry)
        for number in ("v1.0.0", "v1.1.0", "v1.2.0"):
            registry.set_production_model("btc", number, **WHO)
        registry.set_staging_model("btc", "v1.3.0", **WHO)
        registry.set_pointer("btc", "challenger", "v1.4.0", **WHO)
        epoch = registry.epoch()
        pruned = registry.prune_models("btc", keep=1, **WHO)
        assert [(version.version, version.is_pruned) for version in pruned] == [("v1.0.0", True), ("v1.5.0", True)]
        assert [(event.epoch, event.kind, event.version) for event in registry.history("btc")[-2:]] == [
            (epoch + 1, "prune", "v1.0.0"),
            (epoch + 2, "prune", "v1.5.0"),
        ]
        for version in registry.list_models("btc"):
            if version.is_pruned:
                with pytest.raises(ArtifactError, match="retention"):
                    registry.read_file(version, "model.onnx")
            else:
                assert registry.read_file(version, "model.onnx") == b"onnx"
        assert registry.prune_models("btc", keep=1, **WHO) == []
        for keep in (0, -1):
            with pytest.raises(InputError, match="keep"):
                registry.prune_models("btc", keep=keep, **WHO)

    def test_what_retention_deleted_never_returns(self, registry: ModelRegistry) -> None:
        """A pruned version can be neither staged, promoted nor pointed at, and rollback passes over it."""
        for _ in range(4):
            promote(registry, register(registry))
        assert [version.version for version in registry.prune_models("btc", keep=2, **WHO)] == ["v1.0.0", "v1.1.0"]
        for change in (registry.set_staging_model, registry.set_production_model):
            with pytest.raises(RegistryConflictError, match="retention"):
                change("btc", "v1.0.0", **WHO)
        with pytest.raises(RegistryConflictError, match="retention"):
            registry.set_pointer("btc", "challenger", "v1.0.0", **WHO)
        assert registry.rollback_to_previous("btc", **WHO).version == "v1.2.0"
        with pytest.raises(RegistryConflictError, match="no earlier"):
            registry.rollback_to_previous("btc", **WHO)
        assert registry.retire_model("btc", "v1.1.0", **WHO).is_retired

    def test_a_change_decided_on_an_older_state_is_refused(self, registry: ModelRegistry) -> None:
        """Compare and set: after another change of the model's stages the expected epoch no longer fits."""
        first, second = register(registry), register(registry)
        epoch = registry.epoch()
        registry.set_production_model("btc", first.version, **WHO, expected_epoch=epoch)
        before = registry.epoch()
        for change in (registry.set_production_model, registry.set_staging_model):
            with pytest.raises(RegistryConflictError, match="moved on"):
                change("btc", second.version, **WHO, expected_epoch=epoch)
        with pytest.raises(RegistryConflictError, match="moved on"):
            registry.rollback_to_previous("btc", **WHO, expected_epoch=epoch)
        with pytest.raises(RegistryConflictError):
            registry.set_production_model("btc", second.version, **WHO, expected_epoch=before + 1)
        assert registry.epoch() == before
        registry.set_production_model("btc", second.version, **WHO, expected_epoch=before)

    def test_other_models_and_registrations_do_not_disturb(self, registry: ModelRegistry) -> None:
        """The expected epoch only looks at changes of stages of the same model."""
        first = register(registry)
        epoch = registry.epoch()
        promote(registry, register(registry, "eth"))
        register(registry)
        assert registry.set_production_model("btc", first.version, **WHO, expected_epoch=epoch).stage == "production"

    def test_a_change_that_is_in_effect_is_no_change(self, registry: ModelRegistry) -> None:
        """Doing a step again after a crash succeeds, whatever epoch it expected, and writes no event."""
        version = register(registry)
        epoch = registry.epoch()
        for change in (registry.set_staging_model, registry.set_production_model):
            once = change("btc", version.version, **WHO, expected_epoch=registry.epoch())
            after = registry.epoch()
            assert change("btc", version.version, **WHO, expected_epoch=epoch) == once
            assert registry.epoch() == after
        promote(registry, register(registry))
        promote(registry, register(registry))
        registry.retire_model("btc", "v1.0.0", **WHO)
        after = registry.epoch()
        assert registry.retire_model("btc", "v1.0.0", **WHO).is_retired
        assert registry.withdraw_model("btc", "v1.0.0", **WHO).stage == "archived"
        assert registry.epoch() == after

    def test_the_history_tells_who_did_what_when_and_why(self, registry: ModelRegistry, clock: FixedClock) -> None:
        """Each change is one event with the next epoch, its time, its actor and what it displaced."""
        promote(registry, register(registry))
        clock.advance(5)
        second = register(registry)
        registry.set_production_model("btc", second.version, actor="flow", reason="better")
        registry.rollback_to_previous("btc", actor="ann", reason="worse")
        register(registry, "eth")
        events = registry.history("btc")
        assert [event.epoch for event in registry.history()] == [1, 2, 3, 4, 5, 6]
        assert [(event.kind, event.version, event.previous) for event in events] == [
            ("register", "v1.0.0", None),
            ("promote", "v1.0.0", None),
            ("register", "v1.1.0", None),
            ("promote", "v1.1.0", "v1.0.0"),
            ("rollback", "v1.0.0", "v1.1.0"),
        ]
        assert (events[3].actor, events[3].reason, events[3].ts_ns) == ("flow", "better", 1_005)
        assert registry.epoch() == 6

    def test_every_event_carries_its_evidence_and_the_hash_of_the_one_before(self, registry: ModelRegistry) -> None:
        """Events name the sealed report that allowed them, and form one chain over all models."""
        first = register(registry)
        promote(registry, first)
        promote(registry, register(registry))
        registry.rollback_to_previous("btc", **WHO)
        unjudged = register(registry, "eth", verdict=None)
        events = registry.history()
        assert first.gate is not None
        assert [event.evidence for event in events] == [first.gate.digest] * 5 + [None]
        assert unjudged.gate is None
        assert json.loads(registry.read_file(first, "gate.json"))["digest"] == first.gate.digest
        assert events[0].previous_hash == "0" * 64
        assert [event.previous_hash for event in events[1:]] == [event.hash for event in events[:-1]]
        for event in events:
            fields = json.dumps(event.model_dump(exclude={"hash"}), sort_keys=True)
            assert event.hash == hashlib.sha256(fields.encode()).hexdigest()
        assert registry.verify_history() == len(events) == 6

    def test_an_empty_history_is_in_order(self, registry: ModelRegistry) -> None:
        """Nothing was done, so nothing was altered."""
        assert registry.verify_history() == 0

    def test_what_was_in_production_at_a_time_can_be_told(self, registry: ModelRegistry, clock: FixedClock) -> None:
        """The events answer for every moment, including before the first promotion and while there was none."""
        for _ in range(2):
            register(registry)
        changes: list[Callable[[], object]] = [
            lambda: registry.set_production_model("btc", "v1.0.0", **WHO),
            lambda: registry.set_production_model("btc", "v1.1.0", **WHO),
            lambda: registry.rollback_to_previous("btc", **WHO),
            lambda: registry.withdraw_model("btc", "v1.0.0", **WHO),
        ]
        for change in changes:
            clock.advance(10)
            change()
        events = registry.history("btc")
        times = (1_000, 1_009, 1_010, 1_019, 1_020, 1_030, 1_039, 1_040, 9_999)
        live = [None, None, "v1.0.0", "v1.0.0", "v1.1.0", "v1.0.0", "v1.0.0", None, None]
        assert [production_at(events, ts_ns) for ts_ns in times] == live
