from ratchet.testing.served import InMemoryServedModels
from ratchet.testing.tracking import InMemoryTracker

__all__ = ["InMemoryServedModels", "InMemoryTracker"]
