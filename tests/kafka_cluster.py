"""A Kafka cluster for tests: librdkafka's mock broker in a process of its own, which others reach over TCP.

`python -m tests.kafka_cluster` prints the brokers' addresses and then obeys lines on standard input, answering `ok`; it
ends with its input. It uses the C interface beneath confluent-kafka (`rdkafka_mock.h`) instead of the setting
`test.mock.num.brokers`, because only there topics get a chosen number of partitions, groups form without a wait of 3 s,
and errors can be ordered. What it cannot show is listed in docs/how-to/use-kafka.md.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ratchet.features.streaming.kafka.messages import events_topic, poison_topic, rows_topic

ROOT = Path(__file__).resolve().parents[1]
PRODUCE_API = 0
_GROUP_DELAY_MS = 100


class KafkaCluster:
    """One broker on 127.0.0.1 without topics; it dies with the process that started it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.kafka_cluster"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.bootstrap = self._answer()
        assert self.bootstrap

    def create(self, topic: str, n_partitions: int) -> None:
        """Make a topic."""
        self._order(f"create {topic} {n_partitions}")

    def create_view(self, prefix: str, view: str, n_partitions: int) -> None:
        """Make the topics of events, rows and poison."""
        for topic in (events_topic(prefix), rows_topic(prefix, view), poison_topic(prefix, view)):
            self.create(topic, n_partitions)

    def fail_next(self, api: int, error: int) -> None:
        """Answer the next request of a kind with an error code of the protocol."""
        self._order(f"fail {api} {error}")

    def set_down(self) -> None:
        """Close all connections and refuse new ones; the topics stay."""
        self._order("down")

    def set_up(self) -> None:
        """Accept connections again."""
        self._order("up")

    def kill(self) -> None:
        """End the broker; what it held is gone."""
        self._process.kill()
        self._process.communicate()

    def _order(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        assert self._answer() == "ok", line

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@pytest.fixture(scope="session")
def kafka_cluster() -> Iterator[KafkaCluster]:
    """One cluster for all tests, each of which takes topics of its own; skipped without confluent-kafka."""
    pytest.importorskip("confluent_kafka", reason="Kafka needs its client: pip install 'ratchet[stream]'")
    cluster = KafkaCluster()
    yield cluster
    cluster.kill()


def _load() -> Any:
    """Return the librdkafka that confluent-kafka has loaded, with the types of what is used here."""
    import confluent_kafka  # noqa: F401, PLC0415

    maps = Path("/proc/self/maps").read_text().splitlines()
    library = ctypes.CDLL(next(line.split()[-1] for line in maps if "librdkafka" in line))
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    for name, result, arguments in (
        ("rd_kafka_conf_new", pointer, []),
        ("rd_kafka_new", pointer, [number, pointer, text, ctypes.c_size_t]),
        ("rd_kafka_mock_cluster_new", pointer, [pointer, number]),
        ("rd_kafka_mock_cluster_bootstraps", text, [pointer]),
        ("rd_kafka_mock_group_initial_rebalance_delay_ms", None, [pointer, ctypes.c_int32]),
        ("rd_kafka_mock_topic_create", number, [pointer, text, number, number]),
        ("rd_kafka_mock_push_request_errors_array", None, [pointer, ctypes.c_int16, ctypes.c_size_t, pointer]),
        ("rd_kafka_mock_broker_set_down", number, [pointer, ctypes.c_int32]),
        ("rd_kafka_mock_broker_set_up", number, [pointer, ctypes.c_int32]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def _obey(library: Any, cluster: int, command: str, *arguments: str) -> bool:
    if command == "create":
        return bool(library.rd_kafka_mock_topic_create(cluster, arguments[0].encode(), int(arguments[1]), 1) == 0)
    if command == "fail":
        errors = (ctypes.c_int * 1)(int(arguments[1]))
        library.rd_kafka_mock_push_request_errors_array(cluster, int(arguments[0]), 1, errors)
        return True
    order = library.rd_kafka_mock_broker_set_down if command == "down" else library.rd_kafka_mock_broker_set_up
    return bool(order(cluster, -1) == 0)


def main() -> None:
    """Serve until standard input ends."""
    library = _load()
    reason = ctypes.create_string_buffer(512)
    handle = library.rd_kafka_new(0, library.rd_kafka_conf_new(), reason, len(reason))
    cluster = library.rd_kafka_mock_cluster_new(handle, 1)
    library.rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, _GROUP_DELAY_MS)
    sys.stdout.write(library.rd_kafka_mock_cluster_bootstraps(cluster).decode() + "\n")
    sys.stdout.flush()
    for line in sys.stdin:
        sys.stdout.write("ok\n" if _obey(library, cluster, *line.split()) else "failed\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
