"""`ratchet up` where it must refuse: quickly, in words, and without starting anything."""

from __future__ import annotations

import io
import socket
from pathlib import Path

import pytest
from rich.console import Console

from ratchet.cli import daemon
from ratchet.cli.plan import SUPERVISOR_LINE, last_words
from ratchet.cli.up import down, status, up
from ratchet.errors import ConfigurationError
from ratchet.settings import MlflowSettings, PrefectSettings, ServingSettings, Settings


def _settings(home: Path) -> Settings:
    probes = [socket.socket() for _ in range(3)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    prefect, mlflow, serving = (probe.getsockname()[1] for probe in probes)
    for probe in probes:
        probe.close()
    return Settings(
        home=home,
        prefect=PrefectSettings(port=prefect),
        mlflow=MlflowSettings(port=mlflow),
        serving=ServingSettings(port=serving),
    )


def test_a_port_of_a_stranger_is_reported_before_anything_starts(tmp_path: Path) -> None:
    """A taken port names its holder and the setting that chooses another one."""
    settings = _settings(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", settings.mlflow.port))
        taken.listen()
        with pytest.raises(ConfigurationError, match=r"mlflow cannot listen .* process .* RATCHET_MLFLOW__PORT"):
            up(settings, Console(file=io.StringIO()))
    assert not daemon.is_running(tmp_path)


def test_a_home_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    """A file in the home's place ends in one line that names the setting."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="RATCHET_HOME"):
        up(_settings(tmp_path / "file" / "var"), Console(file=io.StringIO()))


def test_without_services_there_is_nothing_to_stop(tmp_path: Path) -> None:
    """`status` shows four stopped services and `down` says that nothing was running, without making the home."""
    settings = _settings(tmp_path / "var")
    output = io.StringIO()
    assert [service.state for service in status(settings)] == ["stopped"] * 4
    down(settings, Console(file=output))
    assert "Nothing was running" in output.getvalue()
    assert not settings.root.exists()


def test_a_log_is_quoted_with_its_exception(tmp_path: Path) -> None:
    """The last exception says more than the line after it; our own lines and decoration are passed over."""
    log = tmp_path / "a.log"
    assert last_words(log) == ""
    log.write_text(f"started\n----\n{SUPERVISOR_LINE}ended\n")
    assert last_words(log) == "started"
    log.write_text("Traceback\nsqlalchemy.exc.NoSuchModuleError: Can't load plugin\nAn exception occurred.\n")
    assert last_words(log) == "sqlalchemy.exc.NoSuchModuleError: Can't load plugin"
