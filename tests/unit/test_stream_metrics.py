"""Totals, latency and lag of a host, as numbers and as Prometheus reads them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ratchet.features.streaming.metrics import LatencyHistogram, StreamMetrics


@pytest.mark.parametrize("scale_ns", [2_000.0, 300_000.0, 40_000_000.0])
@pytest.mark.parametrize("share", [0.5, 0.95, 0.99, 0.999])
def test_quantiles_are_within_five_percent(scale_ns: float, share: float) -> None:
    rng = np.random.default_rng(3)
    durations = (scale_ns * np.exp(rng.normal(0.0, 1.5, 5_000)) + 1_000).astype(np.int64)
    histogram = LatencyHistogram()
    for duration in durations:
        histogram.observe(int(duration))
    true = float(np.quantile(durations, share, method="inverted_cdf"))
    assert abs(histogram.quantile_ns(share) / true - 1) < 0.05


def test_extreme_durations_are_counted_and_memory_stays() -> None:
    histogram = LatencyHistogram()
    for duration in (-5, 0, 1_000, 10**18):
        histogram.observe(duration)
    assert histogram.n_observed == 4
    assert histogram.max_ns == 10**18
    assert 0 <= histogram.quantile_ns(0.5) <= 1_000
    assert histogram.quantile_ns(1.0) > 1e12
    assert len(vars(histogram)["_counts"]) == len(vars(LatencyHistogram())["_counts"])


def test_one_duration_is_every_quantile() -> None:
    histogram = LatencyHistogram()
    histogram.observe(7_654_321)
    assert histogram.quantile_ns(0.5) == pytest.approx(7_654_321, rel=0.05)
    assert histogram.quantile_ns(0.99) == pytest.approx(7_654_321, rel=0.05)
    assert histogram.quantile_ns(0.99) <= histogram.max_ns == 7_654_321


def test_snapshot_before_anything_happened_has_no_latency() -> None:
    snapshot = StreamMetrics().snapshot()
    assert snapshot["events"] == 0.0
    assert all(math.isnan(snapshot[f"latency_{name}_ns"]) for name in ("p50", "p95", "p99", "max"))


def test_snapshot_tells_totals_latency_and_lag() -> None:
    metrics = StreamMetrics()
    metrics.add(events=3, rows=2, poison=1, batches=1, replayed=1)
    metrics.add(events=1)
    metrics.observe_stored(known_ns=1_000_000, now_ns=3_000_000)
    metrics.set_lag(7, oldest_known_ns=500, now_ns=2_500)
    snapshot = metrics.snapshot()
    assert [snapshot[name] for name in ("events", "rows", "poison", "batches", "replayed")] == [4, 2, 1, 1, 1]
    assert (snapshot["stored"], snapshot["latency_max_ns"]) == (1, 2_000_000)
    assert (snapshot["lag_entries"], snapshot["lag_oldest_ns"]) == (7, 2_000)
    metrics.set_lag(0, None, 9_000)
    assert metrics.snapshot()["lag_oldest_ns"] == 0


def test_prometheus_text_has_a_type_per_family_and_escaped_labels() -> None:
    metrics = StreamMetrics()
    metrics.add(events=5)
    metrics.observe_stored(0, 2_000_000_000)
    lines = metrics.as_prometheus({"group": 'a"b\\c\nd'}).splitlines()
    label = r'group="a\"b\\c\nd"'
    assert f"ratchet_stream_events_total{{{label}}} 5" in lines
    assert f"ratchet_stream_latency_seconds_count{{{label}}} 1" in lines
    assert f"ratchet_stream_latency_seconds_sum{{{label}}} 2" in lines
    assert any(line.startswith(f'ratchet_stream_latency_seconds{{{label},quantile="0.99"}} ') for line in lines)
    families = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(families) == len(set(families)) == 8


def test_prometheus_text_without_labels_and_rows() -> None:
    text = StreamMetrics().as_prometheus()
    assert "ratchet_stream_events_total 0\n" in text
    assert 'ratchet_stream_latency_seconds{quantile="0.5"} NaN\n' in text
