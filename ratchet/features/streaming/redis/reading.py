"""What the workers of a group have stored, for whoever reads it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ratchet.features.streaming.events import FeatureRow, decode_rows
from ratchet.features.streaming.redis.connection import connect, translated
from ratchet.features.streaming.redis.groups import agree_partitions
from ratchet.features.streaming.redis.keys import FIRST_ID, StreamKeys

if TYPE_CHECKING:
    import redis

_PAGE = 500


@dataclass(frozen=True, slots=True)
class PoisonMessage:
    """A message set aside: where it was, why it cannot be used, and its bytes."""

    partition: int
    entry_id: str
    reason: str
    message: bytes


def read_rows(url: str, prefix: str, group: str) -> Iterator[FeatureRow]:
    """Yield the rows that are kept, partition by partition; those of a symbol in their order.

    Raises:
        ConfigurationError: nothing was ever published below the prefix.
        InputError: an entry is no row.
        UnavailableError: Redis does not answer.
    """
    keys = StreamKeys(prefix)
    with connect(url) as client:
        for partition in range(agree_partitions(client, keys, None)):
            for _, fields in _entries(client, keys.rows(group, partition)):
                for packed in fields.values():
                    yield from decode_rows(packed)


def read_poison(url: str, prefix: str, group: str) -> list[PoisonMessage]:
    """Return the messages set aside that are kept, oldest first; raises as `read_rows` does."""
    with connect(url) as client:
        return [
            PoisonMessage(
                int(fields[b"partition"]), fields[b"id"].decode(), fields[b"reason"].decode(), fields[b"message"]
            )
            for _, fields in _entries(client, StreamKeys(prefix).poison(group))
        ]


def _entries(client: redis.Redis, name: str) -> Iterator[tuple[bytes, dict[bytes, bytes]]]:
    after = FIRST_ID
    while True:
        with translated(f"stream {name}"):
            page: list[Any] = client.xrange(name, min=b"(" + after, count=_PAGE) or []
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1][0]
