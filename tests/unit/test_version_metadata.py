"""Metadata of a version: complete when it is registered, readable for ever."""

from __future__ import annotations

from typing import Any

import pytest

from ratchet.errors import InputError
from ratchet.registry.metadata import Signature, VersionMetadata, check_metadata
from tests.hostile_models import N_FEATURES, WINDOW, metadata

_LATER = (
    "signature",
    "feature_set",
    "code",
    "seeds",
    "env_lock",
    "parent_version",
    "opset",
    "benchmark_hardware",
)


def test_complete_metadata_pass_and_come_back_as_they_were() -> None:
    """Nothing is lost or changed on the way through the model, for a first version and for a later one."""
    for parent in (None, "v1.0.0"):
        given = metadata() | {"parent_version": parent}
        checked = check_metadata(given)
        assert checked.model_dump(mode="json") == given
        assert checked.n_features == N_FEATURES
        assert VersionMetadata.model_validate_json(checked.model_dump_json()) == checked


@pytest.mark.parametrize("name", sorted(metadata()))
def test_a_missing_field_is_named(name: str) -> None:
    """A new version says everything; `parent_version` and `code` may be null, but must be there."""
    given = metadata()
    del given[name]
    with pytest.raises(InputError, match=f"metadata {name}: missing"):
        check_metadata(given)
    if name in {"code", "parent_version"}:
        return
    with pytest.raises(InputError, match=f"metadata {name}: missing"):
        check_metadata(metadata() | {name: None})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"windw": 3}, "metadata 'windw': no such field"),
        ({"window": 0}, "metadata window: .*greater than or equal to 1"),
        ({"window": 7}, "signature: it must take windows"),
        ({"window": "eight"}, "metadata window: "),
        ({"feature_names": []}, "metadata feature_names: "),
        ({"feature_names": ["f0"] * N_FEATURES}, "a name is there twice"),
        ({"feature_names": ["f0"]}, "signature: it must take windows"),
        ({"schema_hash": "5C" * 32}, "metadata schema_hash: "),
        ({"schema_hash": "5d" * 32}, "feature_set: its version is not schema_hash"),
        ({"symbols": []}, "metadata symbols: "),
        ({"env_lock": "f"}, "metadata env_lock: "),
        ({"code": {"commit": "main", "is_dirty": False}}, r"metadata code\.commit: "),
        ({"seeds": {"training": "one"}}, r"metadata seeds\.training: "),
        ({"recipe": {"rate": float("nan")}}, r"metadata recipe"),
        ({"benchmark_hardware": {"cpu_model": "x"}}, r"metadata benchmark_hardware\.n_cores: "),
    ],
)
def test_a_wrong_field_is_named_with_its_reason(change: dict[str, Any], says: str) -> None:
    """One line that says which field and why."""
    with pytest.raises(InputError, match=says) as caught:
        check_metadata(metadata() | change)
    assert "\n" not in str(caught.value)


def test_versions_of_any_age_can_be_read() -> None:
    """What was registered before the later fields existed, and with keys that are no longer used, still reads."""
    old = {name: value for name, value in metadata().items() if name not in _LATER}
    read = VersionMetadata.model_validate(old | {"gate": {"verdict": "approve"}})
    assert all(getattr(read, name) is None for name in _LATER)
    assert read.window == WINDOW
    with pytest.raises(InputError, match="'gate': no such field"):
        check_metadata(metadata() | {"gate": {}})


def test_the_signature_is_that_of_every_model_here() -> None:
    """Windows in, one probability each out; the batch is free."""
    assert Signature.of(32, 67).model_dump(mode="json") == {
        "inputs": [{"name": "windows", "dtype": "float32", "shape": ["batch", 32, 67]}],
        "outputs": [{"name": "p_up", "dtype": "float32", "shape": ["batch"]}],
    }


def test_the_schema_describes_every_field() -> None:
    """What other programs read of a version's metadata is published as JSON schema."""
    schema = VersionMetadata.model_json_schema()
    assert set(schema["properties"]) == set(metadata())
    assert set(schema["required"]) == set(metadata()) - set(_LATER)
