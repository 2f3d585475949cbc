"""The one place that knows redis-py: connecting, and its errors in our words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ratchet.errors import ConfigurationError, UnavailableError

if TYPE_CHECKING:
    import redis


def connect(url: str, *, timeout_s: float = 5.0) -> redis.Redis:
    """Return a client that gives up after `timeout_s` and never tries again by itself; nothing is sent yet.

    Trying again belongs to the caller, who must look at its lease first.

    Raises:
        ConfigurationError: redis-py is missing, or the URL is no Redis URL.
    """
    driver = _driver()
    from redis.backoff import NoBackoff  # noqa: PLC0415
    from redis.retry import Retry  # noqa: PLC0415

    try:
        client: redis.Redis = driver.Redis.from_url(
            url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=Retry(NoBackoff(), 0)
        )
    except ValueError as error:
        raise ConfigurationError(f"a Redis URL is redis://HOST:PORT/DB, rediss:// or unix://PATH: {error}") from error
    return client


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn redis-py's errors into ours; `doing` begins their message."""
    errors = _driver().exceptions
    try:
        yield
    except (errors.AuthenticationError, errors.AuthorizationError, errors.NoPermissionError) as error:
        raise ConfigurationError(f"{doing}: Redis refuses the user or password: {error}") from error
    except (errors.ConnectionError, errors.TimeoutError) as error:
        raise UnavailableError(f"{doing}: Redis does not answer: {error}") from error
    except errors.RedisError as error:
        raise UnavailableError(f"{doing}: Redis refused: {error}") from error


def _driver() -> Any:
    try:
        import redis  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError("Redis needs its client: pip install 'ratchet[stream]'") from error
    return redis
