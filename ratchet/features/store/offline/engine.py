"""DuckDB within bounds: how much memory, how many threads and how much disk a query may take is always said."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ratchet.errors import ArtifactError, ConfigurationError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What one query may take; a query that needs more fails with a ConfigurationError and leaves nothing behind."""

    memory_mib: int = 4_096
    """Working memory of DuckDB; the answer itself, which is handed over as numpy arrays, comes on top."""
    threads: int = 2
    spill_mib: int = 8_192
    """Disk that a query may fill with what does not fit into the memory."""


@contextmanager
def connect(limits: EngineLimits, spill_home: Path) -> Iterator[DuckDBPyConnection]:
    """Open an empty DuckDB database in memory that spills into a folder of its own below `spill_home`.

    The folder is removed at the end; one that a killed process left may be deleted by hand. DuckDB fetches no
    extensions from the network and looks at no Python variables.

    Raises:
        ConfigurationError: DuckDB is not installed, or a query needs more memory or disk than it may take.
        ArtifactError: DuckDB cannot read a file.
    """
    try:
        import duckdb  # noqa: PLC0415 - only who reads history pays for it
    except ImportError as error:
        raise ConfigurationError("the offline feature store needs DuckDB; pip install duckdb") from error
    spill_home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="query-", dir=spill_home) as spill:
        settings: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": f"{limits.memory_mib}MiB",
            "threads": limits.threads,
            "temp_directory": spill,
            "max_temp_directory_size": f"{limits.spill_mib}MiB",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "python_enable_replacements": False,
        }
        try:
            with duckdb.connect(":memory:", config=settings) as connection:
                yield connection
        except duckdb.OutOfMemoryException as error:
            raise ConfigurationError(
                f"the query needs more than {limits.memory_mib} MiB of memory and {limits.spill_mib} MiB of disk; "
                "raise EngineLimits, or ask for fewer rows or features at once"
            ) from error
        except duckdb.Error as error:
            raise ArtifactError(f"DuckDB cannot answer: {str(error).splitlines()[0]}") from error


def parquet_source(files: Sequence[Path]) -> str:
    """Return the SQL for the rows of Parquet files that all have the same columns."""
    return f"read_parquet([{', '.join(as_text(str(file)) for file in files)}], hive_partitioning = false)"


def as_text(value: str) -> str:
    """Return a text as SQL.

    >>> as_text("BTC/USDT")
    "'BTC/USDT'"
    """
    return "'" + value.replace("'", "''") + "'"


def quoted(column: str) -> str:
    """Return a column's name as SQL.

    >>> quoted("order")
    '"order"'
    """
    return '"' + column.replace('"', '""') + '"'
