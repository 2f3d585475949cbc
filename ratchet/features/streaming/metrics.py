"""What a host of the feature engine tells about itself: totals, latency, lag."""

from __future__ import annotations

import math
from collections.abc import Mapping

_FLOOR_NS = 1_000
_PER_OCTAVE = 16
_N_BUCKETS = 1 + 30 * _PER_OCTAVE
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


class LatencyHistogram:
    """Durations in 481 buckets, each 4.4 % wider than the one below, from 1 us to 1074 s.

    A quantile is thereby exact to 4.4 %, or to 1 us below 1 us; the largest duration is exact. Memory does not grow.

    >>> histogram = LatencyHistogram()
    >>> for ms in range(1, 1001):
    ...     histogram.observe(ms * 1_000_000)
    >>> abs(histogram.quantile_ns(0.99) / 990e6 - 1) < 0.05
    True
    """

    def __init__(self) -> None:
        self._counts = [0] * _N_BUCKETS
        self.n_observed = 0
        self.sum_ns = 0
        self.max_ns = 0

    def observe(self, duration_ns: int) -> None:
        """Count a duration; one below zero, where two machines' clocks differ, counts as zero."""
        duration_ns = max(int(duration_ns), 0)
        above = 0 if duration_ns <= _FLOOR_NS else 1 + int(math.log2(duration_ns / _FLOOR_NS) * _PER_OCTAVE)
        self._counts[min(above, _N_BUCKETS - 1)] += 1
        self.n_observed += 1
        self.sum_ns += duration_ns
        self.max_ns = max(self.max_ns, duration_ns)

    def quantile_ns(self, share: float) -> float:
        """Return the duration that `share` (0 to 1) of all do not exceed; NaN before the first one."""
        if self.n_observed == 0:
            return math.nan
        rank, n_below = share * self.n_observed, 0
        for bucket, count in enumerate(self._counts):
            if count and n_below + count >= rank:
                low, high = _edges_ns(bucket)
                return min(low + (high - low) * max(rank - n_below, 0.0) / count, float(self.max_ns))
            n_below += count
        return float(self.max_ns)


def _edges_ns(bucket: int) -> tuple[float, float]:
    low = 0.0 if bucket == 0 else _FLOOR_NS * 2.0 ** ((bucket - 1) / _PER_OCTAVE)
    return low, _FLOOR_NS * 2.0 ** (bucket / _PER_OCTAVE)


class StreamMetrics:
    """Totals of one host since it started, the latency from an event's arrival to its stored row, and the lag.

    One thread writes; others may read at any time and then see totals that are at most one event apart.
    """

    def __init__(self) -> None:
        self.events = 0
        """Events taken, replayed ones included."""
        self.rows = 0
        """Rows handed on, replayed ones included."""
        self.poison = 0
        """Messages set aside because they can never be used."""
        self.batches = 0
        """Reads that brought at least one event."""
        self.replayed = 0
        """Events taken again after a restart because the last checkpoint was older."""
        self.lag_entries = 0
        """Entries that wait, as of the last look."""
        self.lag_oldest_ns = 0
        """Age of the oldest entry that waits, as of the last look."""
        self.latency = LatencyHistogram()

    def add(self, *, events: int = 0, rows: int = 0, poison: int = 0, batches: int = 0, replayed: int = 0) -> None:
        """Raise totals."""
        self.events += events
        self.rows += rows
        self.poison += poison
        self.batches += batches
        self.replayed += replayed

    def observe_stored(self, known_ns: int, now_ns: int) -> None:
        """Count that the rows of an event that arrived at `known_ns` are stored at `now_ns`; both ns UTC."""
        self.latency.observe(now_ns - known_ns)

    def set_lag(self, entries: int, oldest_known_ns: int | None, now_ns: int) -> None:
        """Note how many entries wait, and since when the oldest does (None where none or not known); ns UTC."""
        self.lag_entries = entries
        self.lag_oldest_ns = 0 if oldest_known_ns is None else max(now_ns - oldest_known_ns, 0)

    def snapshot(self) -> dict[str, float]:
        """Return all numbers by name; latencies are NaN before the first row."""
        latency = {f"latency_{name}_ns": self.latency.quantile_ns(share) for name, share in _QUANTILES.items()}
        return {
            **{name: float(total) for name, total in self._totals().items()},
            "stored": float(self.latency.n_observed),
            **latency,
            "latency_max_ns": float(self.latency.max_ns) if self.latency.n_observed else math.nan,
            "lag_entries": float(self.lag_entries),
            "lag_oldest_ns": float(self.lag_oldest_ns),
        }

    def as_prometheus(self, labels: Mapping[str, str] | None = None) -> str:
        """Return the numbers in Prometheus' text format, each with `labels`; times are in seconds.

        Source: https://prometheus.io/docs/instrumenting/exposition_formats/
        """
        shared = dict(labels or {})
        lines: list[str] = []
        for name, total in self._totals().items():
            lines += _family(f"{name}_total", "counter", [("", shared, float(total))])
        lines += _family("lag_entries", "gauge", [("", shared, float(self.lag_entries))])
        lines += _family("lag_oldest_seconds", "gauge", [("", shared, self.lag_oldest_ns / 1e9)])
        quantiles = [
            ("", {**shared, "quantile": str(share)}, self.latency.quantile_ns(share) / 1e9)
            for share in _QUANTILES.values()
        ]
        totals = [("_sum", shared, self.latency.sum_ns / 1e9), ("_count", shared, float(self.latency.n_observed))]
        lines += _family("latency_seconds", "summary", quantiles + totals)
        return "\n".join(lines) + "\n"

    def _totals(self) -> dict[str, int]:
        return {
            "events": self.events,
            "rows": self.rows,
            "poison": self.poison,
            "batches": self.batches,
            "replayed": self.replayed,
        }


def _family(name: str, kind: str, samples: list[tuple[str, dict[str, str], float]]) -> list[str]:
    full = f"ratchet_stream_{name}"
    return [
        f"# TYPE {full} {kind}",
        *(f"{full}{suffix}{_labels(labels)} {_number(value)}" for suffix, labels, value in samples),
    ]


def _labels(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    escaped = {
        name: text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n") for name, text in labels.items()
    }
    return "{" + ",".join(f'{name}="{text}"' for name, text in escaped.items()) + "}"


def _number(value: float) -> str:
    return "NaN" if math.isnan(value) else f"{value:.17g}"
