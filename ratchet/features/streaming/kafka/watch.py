"""Notices that brokers are away or refuse a client, which librdkafka itself takes as no reason to stop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ratchet.errors import ConfigurationError, RatchetError, UnavailableError
from ratchet.features.streaming.kafka.connection import translate, translated

if TYPE_CHECKING:
    from confluent_kafka import KafkaError


class ConnectionWatch:
    """Hears what a client complains about, and decides when to give up.

    A client tries to reconnect for ever and reports only that it lost every broker, not that it found one again.

    Args:
        doing: begins the messages of errors.
        patience_s: how long no broker may answer.
    """

    def __init__(self, doing: str, *, patience_s: float) -> None:
        self._doing, self._patience_s = doing, patience_s
        self._complaint = ""
        self._refusal: RatchetError | None = None
        self._down_since_s: float | None = None

    def hear(self, error: KafkaError) -> None:
        """Take a complaint; the client calls this while it is polled."""
        meaning = translate(error, self._doing)
        if error.fatal() or isinstance(meaning, ConfigurationError):
            self._refusal = meaning
        elif error.name() == "_ALL_BROKERS_DOWN":
            self._down_since_s = self._down_since_s or time.monotonic()
        else:
            self._complaint = error.str()

    def refuse(self) -> None:
        """Raise if the brokers refuse this client.

        Raises:
            ConfigurationError: they do; user, password or rights are wrong.
            UnavailableError: the client cannot go on.
        """
        if self._refusal is not None:
            raise self._refusal

    def check(self, ask: Callable[[], object]) -> None:
        """Return if all is well or may become so; `ask` sends a request where no broker was there.

        Raises:
            ConfigurationError: the brokers refuse this client.
            UnavailableError: none has answered for `patience_s`.
        """
        self.refuse()
        if self._down_since_s is None:
            return
        try:
            with self.explained(), translated(self._doing):
                ask()
        except UnavailableError:
            if time.monotonic() - self._down_since_s > self._patience_s:
                raise
        else:
            self._down_since_s = None

    @contextmanager
    def explained(self, poll: Callable[[float], object] | None = None) -> Iterator[None]:
        """Add the client's last complaint to the error that nobody answered; `poll` lets the client speak first.

        Raises:
            ConfigurationError: nobody answered because the brokers refuse this client.
        """
        try:
            yield
        except UnavailableError as error:
            if poll is not None:
                poll(0.0)
            self.refuse()
            raise UnavailableError(f"{error}; {self._complaint}" if self._complaint else str(error)) from error
