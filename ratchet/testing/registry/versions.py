"""What every model registry must do with versions: numbers, files, names, and what is refused."""
# ruff: noqa: S101 - a contract suite asserts

from __future__ import annotations

from pathlib import Path

import pytest

from ratchet.clock import FixedClock
from ratchet.errors import InputError, NotFoundError
from ratchet.registry import ModelRegistry
from ratchet.testing.gate import gate_report
from ratchet.testing.registry.steps import WHO, error_of, register

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


class VersionsContract:
    """Registration and reading."""

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
            len({register(registry, content=b"other").digest, register(registry, verdict=None).digest, first.digest})
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
                assert error_of(refused, name) is InputError, name
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
                assert error_of(refused, number) is InputError, number

    def test_malformed_file_names_are_refused(self, registry: ModelRegistry) -> None:
        """A file name that is a path can neither be stored nor read."""
        version = register(registry)
        for filename in HOSTILE_FILES:
            files = {"model.onnx": b"", filename: b""}
            stored = error_of(lambda files: registry.register_model("btc", files, {}, {}, **WHO), files)
            assert stored is InputError, filename
            assert error_of(lambda name: registry.read_file(version, name), filename) is InputError, filename

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
        """An empty actor or reason is refused, and one that no database can store."""
        register(registry)
        with pytest.raises(InputError, match="actor"):
            registry.set_staging_model("btc", "v1.0.0", actor=" ", reason="why")
        with pytest.raises(InputError, match="reason"):
            registry.set_staging_model("btc", "v1.0.0", actor="who", reason="")
        for text in ("nul\0", "\ud800"):
            with pytest.raises(InputError, match="plain text"):
                registry.set_staging_model("btc", "v1.0.0", actor="who", reason=text)

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

    def test_the_gate_must_have_judged_this_very_model(self, registry: ModelRegistry) -> None:
        """A report that is no report, was edited, or is about another model file stops the registration."""
        report = gate_report(b"onnx", "reject")
        for content, match in (
            (b"{", "not a report"),
            (b"[]", "not a report"),
            (b'{"verdict": "approve"}', "not a report"),
            (gate_report(b"onnx", "excellent"), "not a report"),
            (report.replace(b"reject", b"approve"), "altered"),
            (gate_report(b"another"), "another model.onnx"),
        ):
            with pytest.raises(InputError, match=match):
                registry.register_model("btc", {"model.onnx": b"onnx", "gate.json": content}, {}, {}, **WHO)
        assert registry.epoch() == 0
