from ratchet.registry.base import ModelRef, ModelRegistry, ModelVersion, RegistryEvent, Stage
from ratchet.registry.factory import open_registry
from ratchet.registry.files import FileRegistry
from ratchet.registry.timeline import production_at
from ratchet.registry.transactional import Inspect, TransactionalRegistry

__all__ = [
    "FileRegistry",
    "Inspect",
    "ModelRef",
    "ModelRegistry",
    "ModelVersion",
    "RegistryEvent",
    "Stage",
    "TransactionalRegistry",
    "open_registry",
    "production_at",
]
