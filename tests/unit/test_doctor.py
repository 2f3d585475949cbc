"""`ratchet doctor`: each finding says what is wrong and what to do about it."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from ratchet.cli.doctor import Check, check_package, examine
from ratchet.cli.requirements import REQUIREMENTS, Requirement, find_problem, parse_release
from ratchet.settings import MlflowSettings, PrefectSettings, ServingSettings, Settings

_ROOT = Path(__file__).resolve().parents[2]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _settings(home: Path, **serving: int | str) -> Settings:
    return Settings(
        home=home,
        serving=ServingSettings.model_validate({"port": _free_port(), **serving}),
        prefect=PrefectSettings(port=_free_port()),
        mlflow=MlflowSettings(port=_free_port()),
    )


def _find(checks: list[Check], name: str) -> Check:
    return next(check for check in checks if check.name == name)


def _requirement(name: str) -> Requirement:
    return next(requirement for requirement in REQUIREMENTS if requirement.name == name)


@pytest.mark.parametrize(
    ("name", "installed", "words"),
    [
        ("mlflow", "3.11.0", "3.11.1 or later is needed: CVE"),
        ("bentoml", "1.4.38", "1.4.39 or later is needed: CVE"),
        ("prefect", "3.6.21", "3.6.22 or later is needed: CVE"),
        ("starlette", "1.0.0", "1.0.1 or later is needed: CVE"),
        ("onnx", "1.20.1", "1.21 or later is needed: CVE"),
        ("torch", "2.9.1+cpu", "2.10 or later is needed: CVE"),
        ("fastapi", "0.151.0", "below 0.151 is needed: the Prefect server"),
        ("sqlalchemy", "2.1.9", "below 2.1 is needed: Prefect then schedules nothing"),
        ("httpx", None, "not installed"),
    ],
)
def test_a_version_that_is_unsafe_or_breaks_a_neighbour_is_named(name: str, installed: str | None, words: str) -> None:
    """Every known bad version is reported with its reason and the command that replaces it."""
    check = check_package(_requirement(name), installed)
    assert check.status == "missing"
    assert words in check.detail
    assert check.remedy == f"pip install '{_requirement(name).specifier}'"


@pytest.mark.parametrize(
    ("name", "installed"),
    [
        ("mlflow", "3.11.1"),
        ("torch", "2.13.0+cpu"),
        ("onnx", "1.21.0"),
        ("fastapi", "0.150.9"),
        ("sqlalchemy", "2.0.58"),
        ("bentoml", "1.4.100"),
    ],
)
def test_a_version_inside_the_bounds_passes(name: str, installed: str) -> None:
    """Bounds are compared as numbers: the minimum itself, local parts and 100 after 39 pass."""
    assert find_problem(_requirement(name), installed) is None


def test_every_dependency_of_the_project_is_looked_at() -> None:
    """No package of pyproject.toml, but those for development, is unknown to the doctor."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    declared = [
        *project["dependencies"],
        *(line for name in extras if name not in {"all", "dev"} for line in extras[name]),
    ]
    names = {re.split(r"[<>=!~\[ ]", line, maxsplit=1)[0].lower() for line in declared}
    assert names - {requirement.name.lower() for requirement in REQUIREMENTS} == set()


def test_the_minimums_never_lie_above_what_the_project_declares() -> None:
    """A version that pip may choose for pyproject.toml is not called too old by the doctor."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for line in [*project["dependencies"], *(line for name in extras if name != "all" for line in extras[name])]:
        match = re.match(r"([A-Za-z0-9-]+)[>=]=([\d.]+)", line)
        known = [item for item in REQUIREMENTS if match and item.name.lower() == match[1].lower()]
        for requirement in known:
            assert match is not None
            assert parse_release(requirement.minimum) <= parse_release(match[2]), line


def test_a_fresh_home_on_this_machine_is_fine(tmp_path: Path) -> None:
    """Nothing is created by looking, and an absent registry is no fault."""
    home = tmp_path / "var"
    checks = examine(_settings(home))
    assert _find(checks, "home").status == "ok"
    assert _find(checks, "registry").status == "ok"
    assert "no model yet" in _find(checks, "production").detail
    assert _find(checks, "checkout").status == "ok"
    assert _find(checks, "Python").status == "ok"
    assert not home.exists()


def test_a_port_of_a_stranger_is_named_with_its_holder(tmp_path: Path) -> None:
    """A taken port shows who holds it and which setting chooses another one; a free one passes."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        checks = examine(_settings(tmp_path, port=taken.getsockname()[1]))
    check = _find(checks, "port of model-server")
    assert check.status == "missing"
    assert "held by process" in check.detail
    assert "RATCHET_SERVING__PORT" in check.remedy
    assert _find(checks, "port of mlflow").status == "ok"


def test_a_home_that_cannot_be_a_folder_is_missing(tmp_path: Path) -> None:
    """A file in the home's place is reported with the setting that moves the home."""
    (tmp_path / "file").write_text("")
    check = _find(examine(_settings(tmp_path / "file" / "var")), "home")
    assert check.status == "missing"
    assert "RATCHET_HOME" in check.remedy


def test_an_address_open_to_others_is_a_warning(tmp_path: Path) -> None:
    """Loopback is silent; any other address warns that there is no password."""
    assert not [check for check in examine(_settings(tmp_path)) if check.name.startswith("address")]
    check = _find(examine(_settings(tmp_path, host="0.0.0.0")), "address of model-server")  # noqa: S104
    assert check.status == "warn"


def test_a_broken_registry_is_reported_in_words(tmp_path: Path) -> None:
    """A file that is no database does not end the examination."""
    (tmp_path / "registry").mkdir()
    (tmp_path / "registry" / "registry.sqlite").write_bytes(b"this is not a database" * 100)
    check = _find(examine(_settings(tmp_path)), "registry")
    assert check.status == "missing"
    assert check.detail


def test_the_doctor_imports_nothing_heavy(tmp_path: Path) -> None:
    """Examining takes package metadata, not the packages: none of the heavy ones is imported."""
    code = f"""
import sys
from pathlib import Path
from ratchet.cli.doctor import examine
from ratchet.cli import up
from ratchet.settings import Settings
examine(Settings(home=Path({str(tmp_path)!r})))
heavy = "torch mlflow prefect great_expectations bentoml pandas sklearn scipy onnxruntime fastapi".split()
print([name for name in heavy if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=_ROOT)
    assert result.stdout.strip() == "[]"
