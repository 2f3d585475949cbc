"""Order books and trades as venues stream them: one reader per venue, and the live streams.

`parsers.py` finds the reader of a venue, `stream.py` connects.
"""

from ratchet.exchanges.feeds.parsers import feed_parser
from ratchet.exchanges.feeds.stream import open_stream

__all__ = ["feed_parser", "open_stream"]
