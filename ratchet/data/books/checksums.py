"""CRC32 of the best levels, as venues compute it over their own digits."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import zip_longest

from ratchet.market.events import Level

KRAKEN_LEVELS = 10
OKX_LEVELS = 25


def kraken_checksum(bids: Sequence[Level], asks: Sequence[Level]) -> int:
    """Return Kraken's checksum (unsigned) of the ten best levels.

    Asks, then bids; of each price and size the digits without the point and without zeros ahead.

    Source: docs.kraken.com/api/docs/guides/spot-ws-book-v2.
    """
    digits = [_bare(number) for side in (asks, bids) for level in side[:KRAKEN_LEVELS] for number in level]
    return zlib.crc32("".join(digits).encode())


def okx_checksum(bids: Sequence[Level], asks: Sequence[Level]) -> int:
    """Return OKX's checksum (signed, 32 bits) of the 25 best levels, `bid:size:ask:size:...`; a short side is left out.

    Source: okx.com/docs-v5, "Checksum" of the order book channel.
    """
    pairs = zip_longest(bids[:OKX_LEVELS], asks[:OKX_LEVELS], fillvalue=())
    text = ":".join(number for pair in pairs for level in pair for number in level)
    unsigned = zlib.crc32(text.encode())
    return unsigned - (1 << 32) if unsigned >= 1 << 31 else unsigned


def _bare(number: str) -> str:
    return number.replace(".", "").lstrip("0")
