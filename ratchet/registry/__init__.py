from ratchet.registry.base import ModelRef, ModelRegistry, ModelVersion, RegistryEvent, Stage
from ratchet.registry.factory import open_registry
from ratchet.registry.files import FileRegistry
from ratchet.registry.timeline import production_at

__all__ = [
    "FileRegistry",
    "ModelRef",
    "ModelRegistry",
    "ModelVersion",
    "RegistryEvent",
    "Stage",
    "open_registry",
    "production_at",
]
