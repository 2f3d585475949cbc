"""What every model registry must do: subclass `RegistryContract` and give it a `registry` fixture."""
# ruff: noqa: S101 - a contract suite asserts

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratchet.clock import FixedClock
from ratchet.errors import InputError, NotFoundError, RatchetError, RegistryConflictError
from ratchet.registry import ModelRegistry, ModelVersion, production_at

APPROVED = {"gate": {"verdict": "approve"}}
UNAPPROVED: tuple[dict[str, Any], ...] = (
    {},
    {"gate": None},
    {"gate": {}},
    {"gate": {"verdict": ["approve"]}},
    {"gate": {"verdict": "reject"}},
    {"gate": {"verdict": "inconclusive"}},
)
WHO: Any = {"actor": "contract", "reason": "to see"}
HOSTILE_NAMES = (
    "",
    ".",
    "..",
    "../up",
    "a/b",
    "/etc/passwd",
    "a\\b",
    "a..b",
    "%2e%2e%2f",
    ".hidden",
    "-dash",
    "UPPER",
    "with space",
    "nul\0",
    "line\n",
    "a" * 65,
    "ünicode",
    "\u202ertl",
    "a';DROP TABLE versions;--",
    "file:x",
)
HOSTILE_VERSIONS = ("", "1.0.0", "v1", "v1.0", "v01.0.0", "v1.0.0/..", "../v1.0.0", "v1.0.0\n", "V1.0.0", "newest")
HOSTILE_FILES = ("../x", "a/b", "/etc/passwd", ".x", "", "a\0", "..", "x" * 101, "model .onnx", "a\\b")
NOT_JSON = ({"x": float("nan")}, {"x": float("inf")}, {"x": object()}, {"x": b"bytes"}, {"x": "\ud800"}, {"x": {1, 2}})


class RegistryContract(ABC):
    """The tests; each starts with an empty registry whose clock is the `clock` fixture."""

    @pytest.fixture
    def clock(self) -> FixedClock:
        """A clock that tests advance."""
        return FixedClock(1_000)

    @pytest.fixture
    @abstractmethod
    def registry(self, clock: FixedClock, tmp_path: Path) -> Any:
        """Return or yield an empty registry."""

    def test_versions_are_numbered_from_v1_0_0_by_minor_steps(self, registry: ModelRegistry) -> None:
        """Numbers count up by one minor step, sort as numbers, and are separate for each model."""
        numbers = [register(registry).version for _ in range(11)]
        assert numbers == [f"v1.{minor}.0" for minor in range(11)]
        assert [version.version for version in registry.list_models("btc")] == numbers
        assert registry.get_model("btc").version == "v1.10.0"
        assert register(registry, "eth").version == "v1.0.0"

    def test_what_is_registered_is_read_back(self, registry: ModelRegistry, clock: FixedClock, tmp_path: Path) -> None:
        """Bytes, files, metadata and metrics come back as they were given, with the stage "none"."""
        path = tmp_path / "weights"
        path.write_bytes(b"\x00\xff" * 70_000)
        metadata = {"symbols": ["BTC/USDT"], "näme": {"deep": [1, 2.5, None, True]}}
        version = registry.register_model(
            "btc", {"model.onnx": b"onnx", "model.pt": path}, metadata, {"accuracy": 0.53}, **WHO
        )
        assert version == registry.get_model("btc", "v1.0.0")
        assert (version.stage, version.created_ns, version.is_retired) == ("none", clock.now_ns(), False)
        assert (version.metadata, version.metrics) == (metadata, {"accuracy": 0.53})
        assert registry.get_model_metadata("btc") == metadata
        assert registry.read_file(version, "model.onnx") == b"onnx"
        assert registry.read_file(version, "model.pt") == path.read_bytes()

    def test_the_digest_tells_contents_apart(self, registry: ModelRegistry) -> None:
        """Two versions have the same digest exactly when files, metadata and metrics are the same."""
        first, same = register(registry), register(registry)
        assert first.digest == same.digest
        assert (
            len({register(registry, content=b"other").digest, register(registry, metadata={}).digest, first.digest})
            == 3
        )

    def test_malformed_names_are_refused(self, registry: ModelRegistry) -> None:
        """No method takes a name that is a path, hidden, too long or not plain ASCII."""
        for name in HOSTILE_NAMES:
            for refused in (
                lambda name: register(registry, name),
                registry.get_model,
                registry.list_models,
                registry.history,
                lambda name: registry.set_production_model(name, "v1.0.0", **WHO),
            ):
                assert _error_of(refused, name) is InputError, name
        assert registry.list_models() == []

    def test_malformed_versions_are_refused(self, registry: ModelRegistry) -> None:
        """A version is one of the known words or vX.Y.Z, nothing else."""
        register(registry)
        for number in HOSTILE_VERSIONS:
            for refused in (
                lambda number: registry.get_model("btc", number),
                lambda number: registry.set_staging_model("btc", number, **WHO),
                lambda number: registry.retire_model("btc", number, **WHO),
            ):
                assert _error_of(refused, number) is InputError, number

    def test_malformed_file_names_are_refused(self, registry: ModelRegistry) -> None:
        """A file name that is a path can neither be stored nor read."""
        version = register(registry)
        for filename in HOSTILE_FILES:
            files = {"model.onnx": b"", filename: b""}
            stored = _error_of(lambda files: registry.register_model("btc", files, {}, {}, **WHO), files)
            assert stored is InputError, filename
            assert _error_of(lambda name: registry.read_file(version, name), filename) is InputError, filename

    def test_values_without_a_json_form_are_refused(self, registry: ModelRegistry) -> None:
        """Numbers that are not finite, bytes and objects are refused, and nothing is registered."""
        for value in NOT_JSON:
            with pytest.raises(InputError, match="metadata"):
                registry.register_model("btc", {"model.onnx": b""}, value, {}, **WHO)
            with pytest.raises(InputError, match="metrics"):
                registry.register_model("btc", {"model.onnx": b""}, {}, value, **WHO)
        assert (registry.list_models(), registry.epoch()) == ([], 0)

    def test_files_must_hold_the_model_and_leave_the_registry_its_own(
        self, registry: ModelRegistry, tmp_path: Path
    ) -> None:
        """A missing model.onnx, a path that does not exist and a reserved name are refused with the name."""
        for files, match in (
            ({"model.pt": b""}, "model.onnx is missing"),
            ({"model.onnx": tmp_path / "absent"}, "absent"),
            ({"model.onnx": b"", "MANIFEST.json": b""}, "MANIFEST.json"),
            ({"model.onnx": b"", "metadata.json": b""}, "metadata.json"),
        ):
            with pytest.raises(InputError, match=match):
                registry.register_model("btc", files, {}, {}, **WHO)
        assert registry.epoch() == 0

    def test_every_change_needs_who_and_why(self, registry: ModelRegistry) -> None:
        """An empty actor or reason is refused."""
        register(registry)
        with pytest.raises(InputError, match="actor"):
            registry.set_staging_model("btc", "v1.0.0", actor=" ", reason="why")
        with pytest.raises(InputError, match="reason"):
            registry.set_staging_model("btc", "v1.0.0", actor="who", reason="")

    def test_what_is_not_there_is_said_with_what_is(self, registry: ModelRegistry) -> None:
        """NotFoundError names the models, versions and files that exist."""
        with pytest.raises(NotFoundError, match="none yet"):
            registry.get_model("btc")
        version = register(registry)
        for number in ("production", "staging", "previous", "v1.7.0"):
            with pytest.raises(NotFoundError, match=r"v1\.0\.0 \(none\)"):
                registry.get_model("btc", number)
        with pytest.raises(NotFoundError, match="registered: btc"):
            registry.get_model("eth", "production")
        with pytest.raises(NotFoundError, match=r"model\.onnx"):
            registry.read_file(version, "model.pt")
        with pytest.raises(NotFoundError):
            registry.rollback_to_previous("eth", **WHO)
        with pytest.raises(NotFoundError):
            registry.retire_model("btc", "v3.0.0", **WHO)

    def test_registering_changes_no_stage(self, registry: ModelRegistry) -> None:
        """A newer version, approved or not, leaves production alone."""
        promote(registry, register(registry))
        register(registry)
        register(registry, metadata={"gate": {"verdict": "reject"}})
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
        """Without the gate's approval promotion is refused and nothing changes; staging is allowed."""
        promote(registry, register(registry))
        for metadata in UNAPPROVED:
            refused = register(registry, metadata=metadata)
            epoch = registry.epoch()
            with pytest.raises(RegistryConflictError, match="gate"):
                promote(registry, refused)
            assert registry.epoch() == epoch
            assert registry.set_staging_model("btc", refused.version, **WHO).stage == "staging"
        assert registry.get_model("btc", "production").version == "v1.0.0"

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
        rejected = register(registry, metadata={"gate": {"verdict": "reject"}})
        retired = registry.retire_model("btc", rejected.version, **WHO)
        assert (retired.stage, retired.is_retired) == ("archived", True)

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


def register(
    registry: ModelRegistry, name: str = "btc", *, content: bytes = b"onnx", metadata: dict[str, Any] | None = None
) -> ModelVersion:
    """Register a small version that the gate approved, or with other metadata."""
    chosen = APPROVED if metadata is None else metadata
    return registry.register_model(name, {"model.onnx": content}, chosen, {"accuracy": 0.5}, **WHO)


def promote(registry: ModelRegistry, version: ModelVersion) -> ModelVersion:
    """Put a version into production."""
    return registry.set_production_model(version.name, version.version, **WHO)


def stages(registry: ModelRegistry, name: str = "btc") -> dict[str, str]:
    """Return the stage of each version."""
    return {version.version: version.stage for version in registry.list_models(name)}


def _error_of(call: Callable[[Any], object], argument: Any) -> type[Exception] | None:
    try:
        call(argument)
    except RatchetError as error:
        return type(error)
    return None
