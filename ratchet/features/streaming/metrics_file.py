"""What a running host says about itself, as a file that a collector of metrics reads."""

from __future__ import annotations

from pathlib import Path

from ratchet.clock import NS_PER_S, Clock
from ratchet.data.atomic import write_bytes
from ratchet.features.streaming.metrics import StreamMetrics

_EVERY_NS = 5 * NS_PER_S


class MetricsFile:
    """Writes a host's metrics in Prometheus' text format every five seconds, each time as a whole file.

    Args:
        path: for example `var/run/features-binance-1m-core.prom`, in the folder that a node exporter reads.
        clock: says when it is time.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path, self._clock, self._written_ns = path, clock, 0

    def __call__(self, metrics: StreamMetrics) -> None:
        """Write the file if it is time.

        Raises:
            OSError: the folder cannot be written.
        """
        now_ns = self._clock.now_ns()
        if now_ns - self._written_ns >= _EVERY_NS:
            self._written_ns = now_ns
            write_bytes(self._path, metrics.as_prometheus().encode())
