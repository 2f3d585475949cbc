"""The history of every feature, as files: see `store`. Importing it loads neither pandas nor DuckDB."""

from ratchet.features.store.offline.engine import EngineLimits
from ratchet.features.store.offline.store import OfflineStore
from ratchet.features.store.offline.tables import FeatureTableInfo, FeatureTableRef

__all__ = ["EngineLimits", "FeatureTableInfo", "FeatureTableRef", "OfflineStore"]
