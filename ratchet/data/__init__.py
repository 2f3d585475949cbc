"""Datasets: reading, judging and keeping candles.

Only what is light is exported here, because the model server imports `ratchet.data.atomic`; the parts that need pandas
are imported from their modules: `files`, `quality`, `expectations`, `snapshots`, `collection`.
"""

from ratchet.data.atomic import fsync_folder, sha256_bytes, sha256_file, write_bytes, write_json
from ratchet.data.manifest import DatasetManifest, DatasetRef

__all__ = [
    "DatasetManifest",
    "DatasetRef",
    "fsync_folder",
    "sha256_bytes",
    "sha256_file",
    "write_bytes",
    "write_json",
]
