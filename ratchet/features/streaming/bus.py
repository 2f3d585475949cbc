"""The bus between who sees events and who computes features, chosen by URL: Redis Streams or Kafka."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self
from urllib.parse import urlsplit

from ratchet.clock import Clock
from ratchet.errors import ConfigurationError
from ratchet.features.store.online import OnlineStore
from ratchet.features.streaming.events import FeatureEvent, FeatureRow
from ratchet.features.streaming.metrics import StreamMetrics
from ratchet.features.streaming.ports import Engine

_REDIS = ("redis://", "rediss://", "unix://")
_KAFKA = ("kafka://",)


class Publisher(Protocol):
    """Puts events onto a bus, each symbol's in order; leaving its `with` block delivers what is on its way."""

    n_partitions: int
    """How many partitions the bus has."""

    def publish(self, events: Iterable[FeatureEvent]) -> int:
        """Hand events over and return how many.

        Raises:
            BusyError: the bus is full.
            UnavailableError: the bus does not answer.
        """
        ...

    def publish_end(self) -> None:
        """Say that a finite stream ends here, so that engines give out what they hold back."""
        ...

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Deliver, unless there was an error, and let go of the connection."""
        ...


def open_publisher(url: str, prefix: str, n_partitions: int) -> Publisher:
    """Connect to a bus; Kafka has as many partitions as the topic has.

    Raises:
        ConfigurationError: the URL names no bus, or something else is wrong with it.
        UnavailableError: the bus does not answer.
    """
    if url.startswith(_REDIS):
        from ratchet.features.streaming.redis import RedisPublisher  # noqa: PLC0415 - only where it is asked for

        return RedisPublisher(url, prefix, n_partitions)
    from ratchet.features.streaming.kafka.connection import parse_kafka_url  # noqa: PLC0415
    from ratchet.features.streaming.kafka.publisher import KafkaPublisher  # noqa: PLC0415

    _require_kafka(url)
    return KafkaPublisher(parse_kafka_url(url).bootstrap, _kafka_prefix(url, prefix))


def count_partitions(url: str, prefix: str) -> int:
    """Return how many partitions a bus has.

    Raises:
        ConfigurationError: the URL names no bus, or nothing was ever published there.
        UnavailableError: the bus does not answer.
    """
    if url.startswith(_REDIS):
        from ratchet.features.streaming.redis.connection import connect  # noqa: PLC0415
        from ratchet.features.streaming.redis.groups import agree_partitions  # noqa: PLC0415
        from ratchet.features.streaming.redis.keys import StreamKeys  # noqa: PLC0415

        with closing(connect(url)) as client:
            return agree_partitions(client, StreamKeys(prefix), None)
    with open_publisher(url, prefix, 1) as publisher:
        return publisher.n_partitions


def work(
    url: str,
    prefix: str,
    view: str,
    make_engine: Callable[[], Engine],
    *,
    store: OnlineStore | None,
    share: tuple[int, int] = (1, 1),
    report: Callable[[StreamMetrics], None] = lambda metrics: None,
    checkpoints: Path,
    clock: Clock,
    until: Callable[[], bool],
) -> StreamMetrics:
    """Compute the features of a bus until told to stop; any number of processes share its partitions.

    Args:
        url: of the bus.
        prefix: of its streams or topics.
        view: name of the feature view: rows are kept under it, and workers of one view share the work.
        make_engine: makes an engine for one partition.
        store: also gets the newest vector of each symbol.
        share: on Redis, which of how many shares of the partitions this process takes; of the others it takes what has
            no owner for ten seconds. Kafka divides partitions by itself.
        report: is told the metrics about ten times a second.
        checkpoints: file for the state where the bus does not keep it (Kafka).
        clock: for latencies.
        until: asked about ten times a second.

    Raises:
        ConfigurationError: the URL names no bus, or another feature set uses the view's name.
        UnavailableError: the bus or the store was away for too long.
        ArtifactError: a checkpoint cannot be restored.
    """
    if url.startswith(_REDIS):
        from ratchet.features.streaming.redis import RedisWorker  # noqa: PLC0415

        owner = f"{socket.gethostname()}-{os.getpid()}"
        place, of = share
        own = [number for number in range(count_partitions(url, prefix)) if number % of == place - 1]
        with RedisWorker(
            url,
            prefix,
            view,
            make_engine,
            owner=owner,
            clock=clock,
            partitions=own,
            store=store,
        ) as worker:
            worker.run(lambda: _told(report, worker.metrics) or until())
            return worker.metrics
    from ratchet.features.streaming.checkpoints import SqliteCheckpointStore  # noqa: PLC0415
    from ratchet.features.streaming.kafka.connection import parse_kafka_url  # noqa: PLC0415
    from ratchet.features.streaming.kafka.worker import KafkaWorker  # noqa: PLC0415

    _require_kafka(url)
    saved = SqliteCheckpointStore(checkpoints)
    bootstrap = parse_kafka_url(url).bootstrap
    with KafkaWorker(
        bootstrap, _kafka_prefix(url, prefix), view, make_engine, saved, clock=clock, store=store
    ) as consumer:
        consumer.run(lambda: _told(report, consumer.metrics) or until())
        return consumer.metrics


def stored_rows(url: str, prefix: str, view: str) -> Iterator[FeatureRow]:
    """Yield the rows that workers have stored on a bus, each once, each symbol's in order.

    Raises:
        ConfigurationError: the URL names no bus.
        UnavailableError: the bus does not answer.
    """
    if url.startswith(_REDIS):
        from ratchet.features.streaming.redis import read_rows as read_redis  # noqa: PLC0415

        return read_redis(url, prefix, view)
    from ratchet.features.streaming.kafka.connection import parse_kafka_url  # noqa: PLC0415
    from ratchet.features.streaming.kafka.reader import read_rows as read_kafka  # noqa: PLC0415

    _require_kafka(url)
    return iter(read_kafka(parse_kafka_url(url).bootstrap, _kafka_prefix(url, prefix), view))


@dataclass(frozen=True, slots=True)
class SetAside:
    """A message that could not be used: where it was, why, and its bytes as text of hexadecimal digits."""

    partition: int
    place: str
    reason: str
    message: str


def list_set_aside(url: str, prefix: str, view: str) -> list[SetAside]:
    """Return the messages that workers of a view have set aside and that are still kept, oldest first.

    Raises:
        ConfigurationError: the URL names no Redis; on Kafka they are a topic that any client reads.
        UnavailableError: the bus does not answer.
    """
    if not url.startswith(_REDIS):
        _require_kafka(url)
        topic = f"{_kafka_prefix(url, prefix)}.{view}.poison"
        raise ConfigurationError(f"{url}: what was set aside is in the topic {topic}; read it with a Kafka client")
    from ratchet.features.streaming.redis import read_poison  # noqa: PLC0415

    found = read_poison(url, prefix, view)
    return [SetAside(one.partition, one.entry_id, one.reason, one.message.hex()) for one in found]


def forget_view(url: str, prefix: str, view: str, checkpoints: Path) -> None:
    """Remove what workers of a view have kept: state, position and, on Redis, rows. No worker of it may run.

    The next worker begins with the oldest event that is still there.

    Raises:
        ConfigurationError: the URL names no bus.
        NotFoundError: there is no such view.
        UnavailableError: the bus does not answer.
    """
    if url.startswith(_REDIS):
        from ratchet.features.streaming.redis import forget_group  # noqa: PLC0415

        forget_group(url, prefix, view)
        return
    from ratchet.features.streaming.checkpoints import SqliteCheckpointStore  # noqa: PLC0415

    _require_kafka(url)
    with closing(SqliteCheckpointStore(checkpoints)) as saved:
        saved.forget(f"{_kafka_prefix(url, prefix)}.{view}")


def _told(report: Callable[[StreamMetrics], None], metrics: StreamMetrics) -> bool:
    report(metrics)
    return False


def _kafka_prefix(url: str, prefix: str) -> str:
    """Return the prefix that the URL names as its path, or else `prefix`."""
    return urlsplit(url).path.strip("/") or prefix


def _require_kafka(url: str) -> None:
    if not url.startswith(_KAFKA):
        known = ", ".join(f"{scheme}..." for scheme in (*_REDIS, *_KAFKA))
        raise ConfigurationError(f"{url!r} is no bus; known are {known}")
