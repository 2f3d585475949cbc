"""Order books and trades: building, verifying, recording and reading them back.

`builder.py` decides whether a book can be trusted, `segments.py` what is on disk, `recorder.py` ties both to a stream,
`history.py` reads back. `replay.py` feeds raw files through all of it.
"""

from ratchet.data.books.builder import BookBuilder, BookState
from ratchet.data.books.history import Gap, list_gaps, read_events, sample_books
from ratchet.data.books.limits import RecordingLimits
from ratchet.data.books.recorder import record
from ratchet.data.books.records import EVENT_COLUMNS
from ratchet.data.books.replay import replay
from ratchet.data.books.rules import BookRule, book_rule
from ratchet.data.books.tables import recorded_books, recorded_trades
from ratchet.data.books.tally import RecordingReport

__all__ = [
    "EVENT_COLUMNS",
    "BookBuilder",
    "BookRule",
    "BookState",
    "Gap",
    "RecordingLimits",
    "RecordingReport",
    "book_rule",
    "list_gaps",
    "read_events",
    "record",
    "recorded_books",
    "recorded_trades",
    "replay",
    "sample_books",
]
