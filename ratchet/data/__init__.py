"""Market data at rest: candle history, recorded books, the quality gate, immutable datasets, files.

Only what is light is exported here, because the model server imports `ratchet.data.atomic`; the parts that need pandas
are imported from their modules and packages: `history`, `books`, `quality`, `snapshots`, `files`, `collection`.
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
