"""The one place that knows how to reach Kafka through confluent-kafka, and says its errors in our words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ratchet.errors import ArtifactError, ConfigurationError, RatchetError, UnavailableError
from ratchet.features.streaming.kafka.messages import check_name

if TYPE_CHECKING:
    from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

KafkaOptions = Mapping[str, str | int | float | bool]
"""Settings of librdkafka by name, such as `security.protocol` and `sasl.*`."""

_DEFAULTS: KafkaOptions = {"log_level": 2}
_PRODUCER: KafkaOptions = {
    "enable.idempotence": True,
    "acks": "all",
    # A message that failed must not be overtaken by those behind it: readers would take it for a repetition. So one
    # request at a time, too: what was under way behind the failed one might arrive.
    "enable.gapless.guarantee": True,
    "max.in.flight.requests.per.connection": 1,
    "message.timeout.ms": 0,
    "allow.auto.create.topics": False,
}
_PRODUCER_DEFAULTS: KafkaOptions = {"linger.ms": 0}
_CONSUMER: KafkaOptions = {
    "enable.auto.commit": False,
    "auto.offset.reset": "error",
    "partition.assignment.strategy": "cooperative-sticky",
    "allow.auto.create.topics": False,
}
_CONSUMER_DEFAULTS: KafkaOptions = {"fetch.wait.max.ms": 10, "fetch.queue.backoff.ms": 10}

_OURS_TO_FIX = {
    *("_INVALID_ARG", "_AUTHENTICATION", "SASL_AUTHENTICATION_FAILED", "UNSUPPORTED_SASL_MECHANISM"),
    *("TOPIC_AUTHORIZATION_FAILED", "GROUP_AUTHORIZATION_FAILED", "CLUSTER_AUTHORIZATION_FAILED"),
    *("INVALID_SESSION_TIMEOUT", "MSG_SIZE_TOO_LARGE", "TOPIC_EXCEPTION", "POLICY_VIOLATION"),
}
_NO_TOPIC = {"UNKNOWN_TOPIC_OR_PART", "_UNKNOWN_TOPIC", "_UNKNOWN_PARTITION"}


@dataclass(frozen=True, slots=True)
class KafkaUrl:
    """Which brokers to ask first (`HOST:PORT,...`), and the prefix of the topics."""

    bootstrap: str
    prefix: str


def parse_kafka_url(url: str) -> KafkaUrl:
    """Read `kafka://HOST:PORT[,HOST:PORT...][/PREFIX]`.

    >>> parse_kafka_url("kafka://a:9092,b:9092/market")
    KafkaUrl(bootstrap='a:9092,b:9092', prefix='market')
    >>> parse_kafka_url("kafka://localhost:9092").prefix
    'ratchet'

    Raises:
        ConfigurationError: it is no such URL, or holds a user or password, which belong into the options.
    """
    parts = urlsplit(url)
    hosts = parts.netloc.split(",")
    if parts.scheme != "kafka" or not all(_is_host_and_port(host) for host in hosts) or parts.query or parts.fragment:
        raise ConfigurationError(
            f"{parts.scheme}:// URL: expected kafka://HOST:PORT[,HOST:PORT...][/PREFIX]; users go into the options"
        )
    return KafkaUrl(parts.netloc, check_name("prefix", parts.path.strip("/") or "ratchet"))


def _is_host_and_port(text: str) -> bool:
    try:
        parts = urlsplit(f"//{text}")
        return bool(parts.hostname and parts.port) and parts.username is None
    except ValueError:
        return False


def open_producer(bootstrap: str, options: KafkaOptions | None, hear: Callable[[KafkaError], None]) -> Producer:
    """Return a producer whose messages arrive in order, without holes, or not at all; `hear` gets its complaints.

    Raises:
        ConfigurationError: confluent-kafka is missing, or an option is wrong or not for the caller to set.
    """
    ours = {**_PRODUCER, "bootstrap.servers": bootstrap}
    config = _merged(_PRODUCER_DEFAULTS, options, ours)
    with translated(f"producer for {bootstrap}"):
        producer: Producer = _driver().Producer({**config, "error_cb": hear})
    return producer


def open_consumer(
    bootstrap: str, group: str, settings: KafkaOptions, options: KafkaOptions | None, hear: Callable[[KafkaError], None]
) -> Consumer:
    """Return a consumer that commits nothing by itself and does not skip what is no longer there.

    `settings` are the caller's own, `options` come from outside. Raises as `open_producer` does.
    """
    ours = {**_CONSUMER, **settings, "bootstrap.servers": bootstrap, "group.id": group}
    config = _merged(_CONSUMER_DEFAULTS, options, ours)
    with translated(f"consumer of {bootstrap}"):
        consumer: Consumer = _driver().Consumer({**config, "error_cb": hear})
    return consumer


def count_partitions(client: Consumer | Producer, topic: str, *, patience_s: float) -> int:
    """Return how many partitions a topic has.

    Raises:
        ConfigurationError: there is no such topic.
        UnavailableError: no broker answered.
    """
    with translated(f"topic {topic}"):
        found = client.list_topics(topic, timeout=patience_s).topics[topic]
    if found.error is not None:
        raise translate(found.error, f"topic {topic}")
    return len(found.partitions)


def place(topic: str, partition: int, offset: int | None) -> TopicPartition:
    """Point to an offset, or for None to the first one that is still there."""
    driver = _driver()
    where: TopicPartition = driver.TopicPartition(
        topic, partition, driver.OFFSET_BEGINNING if offset is None else offset
    )
    return where


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn confluent-kafka's errors into ours; `doing` begins their message."""
    driver = _driver()
    try:
        yield
    except driver.KafkaException as error:
        raise translate(error.args[0], doing) from error


def translate(error: KafkaError, doing: str) -> RatchetError:
    """Return what an error of Kafka means to the caller."""
    if error.name() in _NO_TOPIC:
        return ConfigurationError(f"{doing}: Kafka has no such topic; create it first ({error.str()})")
    if error.name() in _OURS_TO_FIX:
        return ConfigurationError(f"{doing}: Kafka refuses: {error.str()}")
    if error.name() == "_AUTO_OFFSET_RESET":
        return ArtifactError(
            f"{doing}: events after the checkpoint are no longer there, or the topic was made anew; lengthen its "
            f"retention, and begin again under another prefix ({error.str()})"
        )
    return UnavailableError(f"{doing}: {error.str()}")


def _merged(defaults: KafkaOptions, options: KafkaOptions | None, ours: KafkaOptions) -> dict[str, Any]:
    clash = sorted(set(options or ()) & set(ours))
    if clash:
        raise ConfigurationError(f"options {', '.join(clash)}: these are not for you to set, leave them out")
    return {**_DEFAULTS, **defaults, **(options or {}), **ours}


def _driver() -> Any:
    try:
        import confluent_kafka  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError("Kafka needs its client: pip install 'ratchet[stream]'") from error
    return confluent_kafka
