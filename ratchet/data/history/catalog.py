"""The history's commit point: which files and gaps exist is one transaction in one database."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, Update, and_, delete, func, insert, select, update

from ratchet.data.history.gaps import Gap
from ratchet.data.history.segments import Segment
from ratchet.data.history.series import SeriesKey, Span
from ratchet.data.history.tables import SCHEMA_VERSION, collections, create_schema, gaps, segments, series
from ratchet.data.sqlite import SqliteDatabase

_SEGMENT_FIELDS = (segments.c.path, segments.c.digest, segments.c.n_rows, segments.c.start_ns, segments.c.end_ns)


class HistoryCatalog:
    """What is stored and what is missing, per series.

    Args:
        path: the SQLite file.
        read_only: open without creating or changing anything; a file that is not there yet reads as empty.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._database = SqliteDatabase(
            path,
            title="the candle history",
            schema_version=SCHEMA_VERSION,
            create_schema=create_schema,
            read_only=read_only,
        )
        if not read_only and self._database.is_empty():
            self._database.create()

    def close(self) -> None:
        """Close all connections."""
        self._database.close()

    def list_series(self) -> list[SeriesKey]:
        """Return every series that was ever asked for, sorted."""
        rows = self._rows(select(series.c.venue, series.c.symbol, series.c.timeframe))
        return sorted(SeriesKey(*row) for row in rows)

    def wanted(self, key: SeriesKey) -> Span | None:
        """Return the stretch of time that was asked for so far; None for an unknown series."""
        rows = self._rows(select(series.c.wanted_from_ns, series.c.wanted_to_ns).where(_is(key)))
        return Span(*rows[0]) if rows else None

    def want(self, key: SeriesKey, span: Span) -> None:
        """Remember that a stretch of time was asked for; what was asked for before stays wanted."""
        before = self.wanted(key)
        first = min(before.start_ns, span.start_ns) if before else span.start_ns
        last = max(before.end_ns, span.end_ns) if before else span.end_ns
        with self._database.write() as connection:
            identifier = _identify(connection, key)
            connection.execute(
                update(series).where(series.c.id == identifier).values(wanted_from_ns=first, wanted_to_ns=last)
            )

    def list_segments(self, key: SeriesKey) -> list[Segment]:
        """Return a series' files in the order in which they were added."""
        query = select(*_SEGMENT_FIELDS).join(series).where(_is(key)).order_by(segments.c.sequence)
        return [Segment(*row) for row in self._rows(query)]

    def segment_paths(self) -> set[str]:
        """Return the relative paths of all files."""
        return {row[0] for row in self._rows(select(segments.c.path))}

    def add_segment(self, key: SeriesKey, segment: Segment, *, replaces: Sequence[Segment] = ()) -> None:
        """Make a file part of the series, in the place of others where `replaces` names them."""
        with self._database.write() as connection:
            identifier = _identify(connection, key)
            query = select(func.coalesce(func.max(segments.c.sequence), 0)).where(segments.c.series_id == identifier)
            sequence = connection.execute(query).scalar_one() + 1
            connection.execute(delete(segments).where(segments.c.path.in_([item.path for item in replaces])))
            connection.execute(delete(segments).where(segments.c.path == segment.path))
            connection.execute(
                insert(segments).values(
                    path=segment.path,
                    series_id=identifier,
                    sequence=sequence,
                    digest=segment.digest,
                    n_rows=segment.n_rows,
                    start_ns=segment.start_ns,
                    end_ns=segment.end_ns,
                )
            )

    def list_gaps(
        self,
        *,
        venue: str | None = None,
        symbol: str | None = None,
        timeframe: str | None = None,
        with_closed: bool = False,
    ) -> list[Gap]:
        """Return lines of the gap ledger by series and time; closed ones too if asked."""
        fields = [column for column in gaps.c if column.name not in {"id", "series_id"}]
        query = select(series.c.venue, series.c.symbol, series.c.timeframe, *fields).join_from(gaps, series)
        for column, value in ((series.c.venue, venue), (series.c.symbol, symbol), (series.c.timeframe, timeframe)):
            query = query.where(column == value) if value is not None else query
        if not with_closed:
            query = query.where(gaps.c.closed_ns.is_(None))
        ordered = query.order_by(series.c.venue, series.c.timeframe, series.c.symbol, gaps.c.start_ns, gaps.c.id)
        return [Gap.model_validate(dict(row._mapping)) for row in self._rows(ordered)]

    def set_gaps(self, key: SeriesKey, found: Sequence[Gap], *, now_ns: int) -> list[Gap]:
        """Make the open gaps of a series those that were found; return the ones of which every bar has come.

        A gap that was open already keeps its line and is brought up to date; no line is ever deleted.
        """
        before = {(gap.start_ns, gap.end_ns): gap for gap in self._open_gaps(key)}
        now = {(gap.start_ns, gap.end_ns): gap for gap in found}
        with self._database.write() as connection:
            identifier = _identify(connection, key)
            for bounds in before.keys() - now.keys():
                connection.execute(_line(identifier, bounds).values(closed_ns=now_ns))
            for bounds, gap in now.items():
                values = gap.model_dump(
                    include={"kind", "evidence", "attempts", "was_answered", "tried_ns"}, mode="json"
                )
                if bounds in before:
                    connection.execute(_line(identifier, bounds).values(**values))
                else:
                    start_ns, end_ns = bounds
                    values |= {"series_id": identifier, "start_ns": start_ns, "end_ns": end_ns}
                    connection.execute(insert(gaps).values(found_ns=gap.found_ns, **values))
        gone = [before[bounds] for bounds in sorted(before.keys() - now.keys())]
        return [gap for gap in gone if not any(gap.span.overlaps(other.span) for other in found)]

    def forget(self, key: SeriesKey) -> None:
        """Strike a series out: its files, its gaps and what was wanted of it."""
        with self._database.write() as connection:
            identifier = connection.execute(select(series.c.id).where(_is(key))).scalar_one_or_none()
            for table in (segments, gaps):
                connection.execute(delete(table).where(table.c.series_id == identifier))
            connection.execute(delete(series).where(series.c.id == identifier))

    def add_collection(self, venue: str, report: str, *, ended_ns: int) -> None:
        """Keep the report of one collection."""
        with self._database.write() as connection:
            connection.execute(insert(collections).values(ended_ns=ended_ns, venue=venue, report=report))

    def list_collections(self, *, limit: int) -> list[tuple[int, str]]:
        """Return the end and the report of the latest collections, the newest first."""
        query = select(collections.c.ended_ns, collections.c.report).order_by(collections.c.id.desc()).limit(limit)
        return [(int(ended_ns), str(report)) for ended_ns, report in self._rows(query)]

    def _open_gaps(self, key: SeriesKey) -> list[Gap]:
        return self.list_gaps(venue=key.venue, symbol=key.symbol, timeframe=key.timeframe)

    def _rows(self, query: Select[Any]) -> list[Row[Any]]:
        if self._database.is_empty():
            return []
        with self._database.read() as connection:
            return list(connection.execute(query))


def _is(key: SeriesKey) -> ColumnElement[bool]:
    return and_(series.c.venue == key.venue, series.c.symbol == key.symbol, series.c.timeframe == key.timeframe)


def _identify(connection: Connection, key: SeriesKey) -> int:
    query = select(series.c.id).where(_is(key))
    found = connection.execute(query).scalar_one_or_none()
    if found is not None:
        return int(found)
    values = {"venue": key.venue, "symbol": key.symbol, "timeframe": key.timeframe}
    created = connection.execute(insert(series).values(wanted_from_ns=0, wanted_to_ns=0, **values))
    return int(created.inserted_primary_key[0])  # type: ignore[index]


def _line(identifier: int, bounds: tuple[int, int]) -> Update:
    return update(gaps).where(
        gaps.c.series_id == identifier,
        gaps.c.start_ns == bounds[0],
        gaps.c.end_ns == bounds[1],
        gaps.c.closed_ns.is_(None),
    )
