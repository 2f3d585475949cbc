"""A second opinion on a rebuilt book: the venue's own best quotes."""

from __future__ import annotations

from collections import deque

from ratchet.market.events import BestQuote, Level

_MAX_TOPS = 1_000


class QuoteAgreement:
    """Counts how many best quotes equal the rebuilt book, prices and sizes both.

    A quote numbered q holds from update q until the next quote's number. A book whose last update is u shows the market
    at u. So a quote is matched with the first book whose u lies in [q, next q), and can be judged once the next quote
    has come; a quote without such a book (it was replaced before the next delta ended) is not counted.
    """

    def __init__(self) -> None:
        self.n_quotes = 0
        self.n_matched = 0
        self.n_agreed = 0
        self.disagreements: deque[tuple[BestQuote, int, tuple[Level, Level]]] = deque(maxlen=20)
        """The latest quotes that differ, with the update and the best levels of the book."""
        self._quote: BestQuote | None = None
        self._tops: deque[tuple[int, tuple[Level, Level]]] = deque(maxlen=_MAX_TOPS)

    def see_book(self, last_id: int, best: tuple[Level, Level]) -> None:
        """Take the best levels of the book as of update `last_id`."""
        self._tops.append((last_id, best))

    def see_quote(self, quote: BestQuote) -> None:
        """Take the next quote and judge the one before it."""
        self.n_quotes += 1
        previous, self._quote = self._quote, quote
        if previous is None or previous.last_id is None or quote.last_id is None:
            return
        is_first = True
        while self._tops and self._tops[0][0] < quote.last_id:
            last_id, best = self._tops.popleft()
            if last_id >= previous.last_id and is_first:
                is_first = False
                self._judge(previous, last_id, best)

    def forget_books(self) -> None:
        """Drop what was seen of a book that turned out to be wrong."""
        self._tops.clear()

    def _judge(self, quote: BestQuote, last_id: int, best: tuple[Level, Level]) -> None:
        self.n_matched += 1
        if _numbers(quote.bid) == _numbers(best[0]) and _numbers(quote.ask) == _numbers(best[1]):
            self.n_agreed += 1
        else:
            self.disagreements.append((quote, last_id, best))


def _numbers(level: Level) -> tuple[float, float]:
    return float(level[0]), float(level[1])
