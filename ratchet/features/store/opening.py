"""Choose the engine of the online store by its URL."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

from ratchet.errors import ConfigurationError
from ratchet.features.store.memory_store import MemoryOnlineStore
from ratchet.features.store.online import OnlineStore
from ratchet.features.store.redis_store import RedisOnlineStore
from ratchet.features.store.sqlite_store import SqliteOnlineStore

_SECONDS = ("expire_after_s", "timeout_s")


def open_online_store(url: str) -> OnlineStore:
    """Open the store that the URL names; close it after use.

    Args:
        url: `sqlite:///PATH`; `redis://`, `rediss://` or `unix://` as `RedisOnlineStore` takes them, with
            `?expire_after_s=` and `?timeout_s=` for its arguments; `memory://` for a new store that only this process
            sees.

    Raises:
        ConfigurationError: no engine of that name, or a setting of it does not do.
        UnavailableError: the engine cannot be reached.
    """
    scheme, separator, _ = url.partition("://")
    match scheme if separator else "":
        case "memory":
            return MemoryOnlineStore()
        case "sqlite":
            return SqliteOnlineStore(url)
        case "redis" | "rediss" | "unix":
            return _open_redis(url)
    known = "memory://, sqlite:///PATH, redis://, rediss://, unix://"
    raise ConfigurationError(f"online store {scheme!r}: no such engine, there are {known}")


def _open_redis(url: str) -> RedisOnlineStore:
    address, _, query = url.partition("?")
    options = parse_qsl(query, keep_blank_values=True)
    seconds = {name: _parse_seconds(name, value) for name, value in options if name in _SECONDS}
    rest = urlencode([(name, value) for name, value in options if name not in _SECONDS])
    return RedisOnlineStore(f"{address}?{rest}" if rest else address, **seconds)


def _parse_seconds(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise ConfigurationError(f"online store: {name} is a number of seconds, got {text!r}") from error
