"""The bitemporal history of candles and the collection into it.

Open `candles.py` for what is stored, `collecting.py` for how it comes in, `gaps.py` for what is missing.
"""

from ratchet.data.history.candles import CandleHistory
from ratchet.data.history.collecting import collect_new_data
from ratchet.data.history.fetching import CollectionPolicy
from ratchet.data.history.gaps import Gap, GapKind
from ratchet.data.history.reports import CollectionReport, SeriesReport
from ratchet.data.history.request import CollectionRequest
from ratchet.data.history.series import SeriesKey, Span, venue_name

__all__ = [
    "CandleHistory",
    "CollectionPolicy",
    "CollectionReport",
    "CollectionRequest",
    "Gap",
    "GapKind",
    "SeriesKey",
    "SeriesReport",
    "Span",
    "collect_new_data",
    "venue_name",
]
