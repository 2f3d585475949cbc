"""What a turn's dataset comes to, for reports and cards."""

from __future__ import annotations

from ratchet.data.manifest import DatasetRef
from ratchet.data.snapshots import load_manifest
from ratchet.evaluation.turn import DatasetSummary


def summarize(raw: DatasetRef, dataset: DatasetRef) -> DatasetSummary:
    """Describe the dataset that was used, and how many rows the quality gate took out of the raw one."""
    before, after = load_manifest(raw), load_manifest(dataset)
    n_rows = sum(after.n_rows.values())
    return DatasetSummary(
        digest=dataset.digest,
        source=after.source,
        symbols=after.symbols,
        n_rows=n_rows,
        n_quarantined=sum(before.n_rows.values()) - n_rows,
        start_ns=after.start_ns,
        end_ns=after.end_ns,
    )
