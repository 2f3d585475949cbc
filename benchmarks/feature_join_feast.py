"""The same join by Feast, run by a Python that has Feast and not ratchet; started by `benchmarks.feature_join`.

    /path/to/feast/env/bin/python benchmarks/feature_join_feast.py FOLDER N_ROWS

FOLDER holds `spine.parquet` and `feast.parquet`. Prints seconds and the largest resident memory as JSON, and leaves
the joined values of the first feature in `feast_N_ROWS.npy`. Feast's default offline engine is asked, which is dask.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig
from feast.types import Float32
from feast.value_type import ValueType

MAX_BYTES = 14 * 2**30


def main() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_BYTES, MAX_BYTES))
    folder, n_rows = Path(sys.argv[1]), int(sys.argv[2])
    columns = pd.read_parquet(folder / "feast.parquet", filters=[("symbol", "==", "none")]).columns
    features = [name for name in columns if name.startswith("f")]
    store = FeatureStore(
        config=RepoConfig(
            project="join",
            provider="local",
            registry=str(folder / "registry.db"),
            offline_store={"type": "file"},
            online_store=None,
            entity_key_serialization_version=3,
        )
    )
    symbol = Entity(name="symbol", join_keys=["symbol"], value_type=ValueType.STRING)
    view = FeatureView(
        name="candles",
        entities=[symbol],
        ttl=timedelta(0),
        schema=[Field(name=name, dtype=Float32) for name in features],
        source=FileSource(
            path=str(folder / "feast.parquet"), timestamp_field="event_time", created_timestamp_column="created_time"
        ),
    )
    store.apply([symbol, view])
    spine = pd.read_parquet(folder / "spine.parquet").head(n_rows)
    entities = pd.DataFrame(
        {"symbol": spine["symbol"], "event_timestamp": pd.to_datetime(spine["ts_ns"], utc=True), "row": range(n_rows)}
    )
    begun = time.perf_counter()
    answer = store.get_historical_features(entities, features=[f"candles:{name}" for name in features]).to_df()
    seconds = time.perf_counter() - begun
    values = np.full(n_rows, np.nan, dtype=np.float32)
    values[answer["row"]] = answer["f0"]
    np.save(folder / f"feast_{n_rows}.npy", values)
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    packages = {name: version(name) for name in ("feast", "pandas", "dask", "pyarrow")}
    print(json.dumps({"seconds": seconds, "peak_rss_mib": peak_mib, "packages": packages}))


if __name__ == "__main__":
    main()
