"""The online store on a Redis server: one packed value per key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlsplit

import numpy as np
from numpy.typing import NDArray

from ratchet.errors import ArtifactError, ConfigurationError, RatchetError, UnavailableError
from ratchet.features.store.online import OnlineVector, OnlineWindow, within_ttl
from ratchet.features.store.packing import as_int64, pack_vector, pack_window, unpack
from ratchet.features.store.redis_record import ANY_ORDER, COMPARE_AND_SET, NEWER, NOT_OLDER, RedisRecord

if TYPE_CHECKING:
    from redis import Redis
    from redis.exceptions import RedisError

_QUERY_NAMES = {
    "redis": set[str](),
    "rediss": {"ssl_ca_certs", "ssl_certfile", "ssl_keyfile"},
    "unix": {"db"},
}


class RedisOnlineStore:
    """An `OnlineStore` on one Redis server (6.2 or later; not a Redis Cluster), for threads, processes and machines.

    A write that has returned is in the memory of the server, and outlives it only as far as the server writes its
    append-only file: with `appendonly yes` and `appendfsync always` it survives a power cut, with `everysec` up to
    about two seconds of writes may be lost, with `appendonly no` all since the last snapshot. Then what was written
    before may be read again, until the next write.

    Each call makes one attempt.

    Args:
        url: `redis://[USER:PASSWORD@]HOST:PORT/DATABASE`, the same with `rediss://` for TLS, or
            `unix:///PATH?db=DATABASE`.
        expire_after_s: remove a key that was not written for so long, by the server's clock. This is housekeeping for
            symbols that are no longer traded, and says nothing of the age of features; see `read_vectors` for that.
        timeout_s: how long to wait for a connection, and for each answer.

    Raises:
        ConfigurationError: the URL, the password or the rights do not do, or the package `redis` is missing.
        UnavailableError: the server does not answer.
    """

    def __init__(self, url: str, *, expire_after_s: float | None = None, timeout_s: float = 2.0) -> None:
        self._name = _checked_address(url)
        self._expire_ms = 0 if expire_after_s is None else _as_ms("expire_after_s", expire_after_s)
        with self._translated():
            self._client = _client(url, _as_ms("timeout_s", timeout_s) / 1_000)
            self._client.ping()
        self._compare_and_set = self._client.register_script(COMPARE_AND_SET)

    def write_windows(
        self,
        view: str,
        schema_hash: str,
        windows: Mapping[str, tuple[int, NDArray[np.float32]]],
        timeframe_ns: int,
        *,
        replace: bool = False,
    ) -> int:
        """Store the windows with one script; see `OnlineStore`."""
        timeframe_ns = as_int64("timeframe_ns", timeframe_ns)
        records = {}
        for symbol, given in windows.items():
            ts_event_ns, shape, packed = pack_window(symbol, *given)
            records[symbol] = RedisRecord(schema_hash, ts_event_ns, 0, timeframe_ns, shape, packed)
        return self._write("window", view, records, ANY_ORDER if replace else NOT_OLDER)

    def read_window(self, view: str, symbol: str) -> OnlineWindow | None:
        """Return the newest window; see `OnlineStore`."""
        record = self._read("window", view, [symbol]).get(symbol)
        if record is None:
            return None
        values = unpack(f"online window {view} {symbol}", record.packed, record.shape)
        return OnlineWindow(values, record.ts_event_ns, record.schema_hash, record.timeframe_ns)

    def write_vectors(
        self, view: str, schema_hash: str, vectors: Mapping[str, tuple[int, int, NDArray[np.float32]]]
    ) -> int:
        """Store the vectors with one script; see `OnlineStore`."""
        records = {}
        for symbol, given in vectors.items():
            ts_event_ns, sequence, n_feature, packed = pack_vector(symbol, *given)
            records[symbol] = RedisRecord(schema_hash, ts_event_ns, sequence, 0, (1, n_feature), packed)
        return self._write("vector", view, records, NEWER)

    def read_vectors(
        self, view: str, symbols: Sequence[str], *, now_ns: int | None = None, ttl_ns: int | None = None
    ) -> dict[str, OnlineVector]:
        """Return the newest vectors with one command; see `OnlineStore`."""
        found = {
            symbol: OnlineVector(
                unpack(f"online vector {view} {symbol}", record.packed, record.shape[1:]),
                record.ts_event_ns,
                record.sequence,
                record.schema_hash,
            )
            for symbol, record in self._read("vector", view, symbols).items()
        }
        return within_ttl(found, now_ns, ttl_ns)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    def _write(self, kind: str, view: str, records: Mapping[str, RedisRecord], least_order: int) -> int:
        if not records:
            return 0
        packed = [record.to_bytes() for record in records.values()]
        with self._translated():
            return int(self._compare_and_set(_keys(kind, view, records), [least_order, self._expire_ms, *packed]))

    def _read(self, kind: str, view: str, symbols: Sequence[str]) -> dict[str, RedisRecord]:
        if not symbols:
            return {}
        with self._translated():
            stored = self._client.mget(_keys(kind, view, symbols))
        return {
            symbol: RedisRecord.from_bytes(f"online {kind} {view} {symbol}", packed)
            for symbol, packed in zip(symbols, stored, strict=True)
            if isinstance(packed, bytes)
        }

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            from redis.exceptions import RedisError  # noqa: PLC0415 - only those whose URL names Redis need it
        except ImportError as error:
            raise ConfigurationError("an online store on Redis needs `pip install ratchet[stream]`") from error
        try:
            yield
        except RedisError as error:
            raise _translation(f"online store {self._name}", error) from error


def _client(url: str, timeout_s: float) -> Redis:
    from redis import Redis  # noqa: PLC0415
    from redis.backoff import NoBackoff  # noqa: PLC0415
    from redis.retry import Retry  # noqa: PLC0415

    once = Retry(NoBackoff(), 0)
    return Redis.from_url(url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=once)


def _checked_address(url: str) -> str:
    """Return the URL without what is secret, for messages."""
    try:
        parts = urlsplit(url)
        server = "" if parts.scheme == "unix" else f"{parts.hostname or 'localhost'}:{parts.port or 6379}"
    except ValueError as error:
        raise ConfigurationError(f"online store on Redis: the URL cannot be read: {error}") from error
    name = f"{parts.scheme}://{server}{parts.path}"
    if parts.scheme not in _QUERY_NAMES:
        raise ConfigurationError(f"online store {name}: Redis is redis://, rediss:// or unix://")
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(set(options) - _QUERY_NAMES[parts.scheme])
    if unknown:
        raise ConfigurationError(f"online store {name}: unknown options {', '.join(unknown)}")
    database = options.get("db", "0") if parts.scheme == "unix" else parts.path.removeprefix("/") or "0"
    if not database.isdecimal():
        raise ConfigurationError(f"online store {name}: {database!r} is not the number of a database")
    return name


def _as_ms(name: str, seconds: float) -> int:
    if not 0.001 <= seconds <= 1e9:
        raise ConfigurationError(f"online store: {name} is from 0.001 to 1e9 seconds, got {seconds}")
    return round(1_000 * seconds)


def _keys(kind: str, view: str, symbols: Iterable[str]) -> list[str]:
    """Symbols may hold colons; quoting the view keeps two pairs from sharing a key."""
    prefix = f"ratchet:{kind}:{quote(view, safe='')}:"
    return [prefix + symbol for symbol in symbols]


def _translation(name: str, error: RedisError) -> RatchetError:
    from redis.exceptions import AuthenticationError, AuthorizationError, NoPermissionError  # noqa: PLC0415

    if isinstance(error, AuthenticationError | AuthorizationError | NoPermissionError):
        return ConfigurationError(f"{name}: the user or the password in its URL does not do: {error}")
    if "DB index" in str(error):
        return ConfigurationError(f"{name}: {error}")
    return ArtifactError(f"{name}: {error}") if "WRONGTYPE" in str(error) else UnavailableError(f"{name}: {error}")
