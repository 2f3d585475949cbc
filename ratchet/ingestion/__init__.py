"""Where venues meet the store: an exchange opened by its URL, and what it says written down.

`ratchet.exchanges` knows no files and `ratchet.data` no venues; here the two meet, for the CLI and for tasks.
"""

from ratchet.ingestion.books import record_books, replay_recording
from ratchet.ingestion.candles import PATIENCE_S, collect_history

__all__ = ["PATIENCE_S", "collect_history", "record_books", "replay_recording"]
