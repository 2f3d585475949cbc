"""Which features the registered models use, and which nobody does.

Models come as plain data: the registry is above the features.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ratchet.errors import ArtifactError
from ratchet.features.definitions import FeatureDefinition


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelUse(_Frozen):
    """What one version of a model uses. `set_name` is None where no set of today has its schema hash."""

    model: str
    version: str
    stage: str
    feature_view: str
    schema_hash: str
    feature_names: tuple[str, ...]
    set_name: str | None = None


class FeatureUse(_Frozen):
    """One feature of the catalogue; `used_by` are models as `name version (stage)`."""

    name: str
    version: str
    owner: str
    deprecated: str
    used_by: tuple[str, ...]


class UsageReport(_Frozen):
    """All models and all features. `unknown` are features that a model uses and the catalogue has no more, by name."""

    models: tuple[ModelUse, ...]
    features: tuple[FeatureUse, ...]
    unknown: dict[str, tuple[str, ...]]

    @property
    def unused(self) -> list[FeatureUse]:
        """Features that no model uses."""
        return [feature for feature in self.features if not feature.used_by]

    @property
    def deprecated_in_use(self) -> list[FeatureUse]:
        """Features that should be used no more and are."""
        return [feature for feature in self.features if feature.deprecated and feature.used_by]


def model_use(model: str, version: str, stage: str, metadata: Mapping[str, Any]) -> ModelUse:
    """Read what a model uses from the metadata of its version.

    Raises:
        ArtifactError: the metadata do not say it.
    """
    names = ("feature_view", "schema_hash", "feature_names")
    given = {name: metadata[name] for name in names if name in metadata}
    try:
        return ModelUse(model=model, version=version, stage=stage, **given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ArtifactError(f"{model} {version}: metadata {where}: {first['msg']}") from error


def report_usage(
    catalogue: Mapping[str, FeatureDefinition], schemas: Mapping[str, str], models: Iterable[ModelUse]
) -> UsageReport:
    """Match models with features.

    Args:
        catalogue: every feature by name.
        schemas: the name of each feature set by its schema hash.
        models: the versions that count, for example those that are not archived.
    """
    uses = [model.model_copy(update={"set_name": schemas.get(model.schema_hash)}) for model in models]
    used_by: dict[str, list[str]] = {}
    for model in uses:
        for name in model.feature_names:
            used_by.setdefault(name, []).append(f"{model.model} {model.version} ({model.stage})")
    features = tuple(
        FeatureUse(
            name=name,
            version=definition.version,
            owner=definition.owner,
            deprecated=definition.deprecated,
            used_by=tuple(used_by.get(name, ())),
        )
        for name, definition in catalogue.items()
    )
    unknown = {name: tuple(users) for name, users in sorted(used_by.items()) if name not in catalogue}
    return UsageReport(models=tuple(uses), features=features, unknown=unknown)
