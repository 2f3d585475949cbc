"""ccxt as far as it is used: addresses, markets, and what the venues' error bodies mean.

Requests are sent by `VenueTransport`, and candles are parsed by the dialects: ccxt's own paging has defects that differ
by venue, and its classes do not tell every refusal from an overload.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ratchet.errors import ConfigurationError, InputError, UnavailableError
from ratchet.exchanges.venues.transport import Examine, Reply, VenueBusyError

_ABOUT_THE_QUESTION = re.compile(r"\bEQuery:")
"""Kraken's class of refusals for what was asked; ccxt lacks "EQuery:Unknown asset pair"."""


def open_client(ccxt_id: str, *, options: Mapping[str, Any], url: str | None) -> Any:
    """Return a ccxt client that neither paces nor retries; it is idle until its `fetch` is replaced.

    `url` takes the place of every `https://<host>` in its addresses.

    Raises:
        ConfigurationError: ccxt is not installed.
    """
    try:
        import ccxt.async_support  # noqa: PLC0415 - 2 s that only real venues may cost
    except ImportError as error:
        raise ConfigurationError("ccxt is not installed; run pip install 'ratchet[collect]'") from error
    client = getattr(ccxt.async_support, ccxt_id)({"enableRateLimit": False, "options": dict(options)})
    client.has["fetchCurrencies"] = False  # costs requests and only serves deposits
    if url is not None:
        client.urls["api"] = {key: _moved(text, url.rstrip("/")) for key, text in client.urls["api"].items()}
    return client


async def load_markets(client: Any) -> dict[str, dict[str, Any]]:
    """Ask for the venue's markets; return them by ccxt's symbol.

    Raises:
        UnavailableError: the venue does not answer, or not with markets.
    """
    import ccxt.async_support as ccxt  # noqa: PLC0415

    try:
        markets: dict[str, dict[str, Any]] = await client.load_markets(True)
    except (ccxt.BaseError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        detail = f"{type(error).__name__}: {_line(error)}"
        raise UnavailableError(f"{client.id} lists its markets in a form that cannot be read ({detail})") from error
    return markets


def body_examiner(client: Any, venue: str) -> Examine:
    """Return a function that raises our errors for the venue's error bodies, which ccxt knows by code and text."""
    import ccxt.async_support as ccxt  # noqa: PLC0415

    def examine(reply: Reply) -> None:
        headers = dict(reply.headers)
        try:
            client.handle_errors(reply.status, "", reply.url, "GET", headers, reply.text, reply.content, {}, None)
        except ccxt.OperationFailed as error:
            is_rate_limit = isinstance(error, ccxt.RateLimitExceeded | ccxt.DDoSProtection)
            raise VenueBusyError(f"it answers {_line(error)}", is_rate_limit=is_rate_limit) from error
        except (ccxt.AuthenticationError, ccxt.RestrictedLocation) as error:
            raise UnavailableError(f"it refuses this address: {_line(error)}") from error
        except ccxt.BaseError as error:
            # A code that ccxt does not know, under a status of success, says nothing about the question asked.
            is_unknown = type(error) is ccxt.ExchangeError and not _ABOUT_THE_QUESTION.search(reply.text)
            if is_unknown and reply.status < 400:
                raise VenueBusyError(f"it answers {_line(error)}") from error
            raise InputError(f"{venue} refuses the request: {_line(error)}") from error
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise VenueBusyError(f"its answer has an unknown form: {reply.text[:160]}") from error

    return examine


def _moved(address: str, url: str) -> str:
    host, slash, path = address.removeprefix("https://").partition("/")
    return f"{url}{slash}{path}" if host else url


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
