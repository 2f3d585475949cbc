"""Order books and trades over WebSocket."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ratchet.exchanges.simulated.server.books import BookView, OrderBookWalk, change_between
from ratchet.exchanges.simulated.server.dialects.dialect import Dialect, Endpoint, Listing, Stamp, Topic
from ratchet.exchanges.simulated.server.faults import FaultKind, FaultScope
from ratchet.exchanges.simulated.server.plan import FaultPlan

if TYPE_CHECKING:
    from aiohttp import web

PACE_S = 0.02
"""Time between two steps of a book that somebody follows."""

_MESSAGE_KINDS = frozenset(kind for kind in FaultKind if kind.scope is FaultScope.MESSAGE)
_BOOK_KINDS = {FaultKind.WRONG_CHECKSUM, FaultKind.CROSSED_STREAM_BOOK}


@dataclass(eq=False)
class _Connection:
    """One client; `held` is a message that waits until the next one was sent."""

    socket: web.WebSocketResponse
    number: int = 0
    held: str | None = None


@dataclass(eq=False)
class _Follower:
    """One topic of a client; `sent` is the book that it knows."""

    connection: _Connection
    topic: Topic
    listing: Listing
    sent: BookView


@dataclass
class StreamHub:
    """Lets books move while somebody follows them, and tells the followers in the venue's words.

    `find` finds a symbol by the venue's name, `book_of` its book, `now_ns` the time that the venue believes it is.
    """

    dialect: Dialect
    plan: FaultPlan
    find: Callable[[str], Listing | None]
    book_of: Callable[[Listing], Awaitable[OrderBookWalk]]
    now_ns: Callable[[], int]
    _followers: dict[str, list[_Follower]] = field(default_factory=dict)
    _feeds: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _connections: set[_Connection] = field(default_factory=set)

    async def serve(self, websocket: web.WebSocketResponse) -> None:
        """Talk to one client until it or a fault closes the connection."""
        connection = _Connection(websocket)
        self._connections.add(connection)
        try:
            with suppress(ConnectionError):  # the client may leave while it is being answered
                async for message in websocket:
                    if isinstance(message.data, str):
                        await self._hear(connection, message.data)
        finally:
            self._connections.discard(connection)
            self._forget(lambda follower: follower.connection is connection)

    async def close(self) -> None:
        """Stop all books and close all connections."""
        for feed in self._feeds.values():
            feed.cancel()
        await asyncio.gather(*self._feeds.values(), return_exceptions=True)
        for connection in list(self._connections):
            await connection.socket.close()

    async def _hear(self, connection: _Connection, text: str) -> None:
        try:
            heard = self.dialect.hear(text)
        except ValueError:
            return  # the venues answer with a message that says no more
        for reply in heard.replies:
            await connection.socket.send_str(reply)
        self._leave(connection, heard.begun)  # who subscribes again starts afresh
        for topic in heard.begun:
            await self._follow(connection, topic)
        if heard.ended:
            ended = {(topic.market_id, topic.text) for topic in heard.ended}
            self._forget(
                lambda follower: (
                    follower.connection is connection and (follower.topic.market_id, follower.topic.text) in ended
                )
            )

    async def _follow(self, connection: _Connection, topic: Topic) -> None:
        listing = self.find(topic.market_id)
        if listing is None:
            return
        book = await self.book_of(listing)
        follower = _Follower(connection, topic, listing, book.view(topic.depth))
        if topic.endpoint is Endpoint.BOOK:
            snapshot = self.dialect.snapshot(topic, listing, follower.sent, self._stamp(connection))
            if snapshot is not None:
                connection.number += 1
                await connection.socket.send_str(snapshot)
        self._followers.setdefault(listing.symbol, []).append(follower)
        if listing.symbol not in self._feeds:
            self._feeds[listing.symbol] = asyncio.create_task(self._feed(listing.symbol, book))

    def _leave(self, connection: _Connection, topics: tuple[Topic, ...]) -> None:
        left = {(topic.market_id, topic.text) for topic in topics}
        self._forget(
            lambda follower: (
                follower.connection is connection and (follower.topic.market_id, follower.topic.text) in left
            )
        )

    def _forget(self, is_gone: Callable[[_Follower], bool]) -> None:
        for symbol, followers in self._followers.items():
            self._followers[symbol] = [follower for follower in followers if not is_gone(follower)]

    async def _feed(self, symbol: str, book: OrderBookWalk) -> None:
        while self._followers.get(symbol):
            await asyncio.sleep(PACE_S)
            trade = book.step()
            followers = self._followers.get(symbol, ())
            for follower in [each for each in followers if self.find(each.topic.market_id) is not None]:
                if follower.topic.endpoint is Endpoint.BOOK:
                    await self._tell_book(follower, book.view(follower.topic.depth))
                elif trade is not None:
                    topic, listing = follower.topic, follower.listing
                    fault = self._draw(follower, _MESSAGE_KINDS - _BOOK_KINDS)
                    text = self.dialect.trade(topic, listing, trade, self._stamp(follower.connection))
                    await self._send(follower.connection, text, fault)
        del self._feeds[symbol]

    async def _tell_book(self, follower: _Follower, view: BookView) -> None:
        change = change_between(follower.sent, view)
        follower.sent = view
        kinds = _MESSAGE_KINDS if self.dialect.has_checksum else _MESSAGE_KINDS - {FaultKind.WRONG_CHECKSUM}
        fault = self._draw(follower, kinds)
        if fault is FaultKind.CROSSED_STREAM_BOOK:
            change = change.crossed()
        stamp = self._stamp(follower.connection, checksum_error=int(fault is FaultKind.WRONG_CHECKSUM))
        await self._send(
            follower.connection, self.dialect.update(follower.topic, follower.listing, change, stamp), fault
        )

    def _draw(self, follower: _Follower, kinds: frozenset[FaultKind]) -> FaultKind | None:
        fault = self.plan.draw(f"stream:{follower.topic.endpoint}:{follower.listing.symbol}", kinds)
        if fault is None:
            return None
        self.plan.counts[fault.kind] += 1
        return fault.kind

    def _stamp(self, connection: _Connection, checksum_error: int = 0) -> Stamp:
        return Stamp(self.now_ns(), connection.number, checksum_error)

    async def _send(self, connection: _Connection, text: str, fault: FaultKind | None) -> None:
        connection.number += 1
        try:
            if fault is FaultKind.CLOSED_STREAM:
                await connection.socket.close()
                return
            if fault is FaultKind.REORDERED_MESSAGE and connection.held is None:
                connection.held = text
                return
            copies = 0 if fault is FaultKind.DROPPED_MESSAGE else 2 if fault is FaultKind.DUPLICATED_MESSAGE else 1
            held, connection.held = connection.held, None
            for message in (*[text] * copies, *([held] if held else [])):
                await connection.socket.send_str(message)
        except ConnectionError:
            self._forget(lambda follower: follower.connection is connection)
