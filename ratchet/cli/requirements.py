"""The packages that the parts of Ratchet need, with the versions that are known to work and to be safe.

A minimum may name the published vulnerabilities of earlier releases, a ceiling what later ones break although their
metadata fit. Package metadata is all that is read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata


@dataclass(frozen=True)
class Requirement:
    """A distribution that has to be installed: `minimum <= version < below`."""

    name: str
    extra: str | None
    """Optional dependency group of this project that brings it; None: a dependency of the library itself."""
    minimum: str
    below: str | None = None
    vulnerabilities: str = ""
    """Published for versions below the minimum."""
    conflict: str = ""
    """What happens from version `below` on."""

    @property
    def specifier(self) -> str:
        """The requirement as pip reads it.

        >>> Requirement("pandas", None, "2.3", "4").specifier
        'pandas>=2.3,<4'
        """
        return f"{self.name}>={self.minimum}" + (f",<{self.below}" if self.below else "")


REQUIREMENTS = (
    Requirement("duckdb", None, "2.0", "3"),
    Requirement("httpx", None, "0.28"),
    Requirement("markdown-it-py", None, "3"),
    Requirement("numba", None, "0.68", "0.70"),
    Requirement("numpy", None, "2.2"),
    Requirement("pandas", None, "2.3", "4"),
    Requirement("psutil", None, "5.9"),
    Requirement("pyarrow", None, "21", "26"),
    Requirement("pydantic", None, "2.12", "3"),
    Requirement("pydantic-settings", None, "2.12"),
    Requirement("rich", None, "14"),
    Requirement("scikit-learn", None, "1.7"),
    Requirement("scipy", None, "1.15"),
    Requirement("sqlalchemy", None, "2.0.40", "2.1", conflict="Prefect then schedules nothing"),
    Requirement("statsmodels", None, "0.14.5"),
    Requirement("threadpoolctl", None, "3.5"),
    Requirement("typer", None, "0.20"),
    Requirement("prefect", "flows", "3.6.22", None, "CVE-2026-3514, CVE-2026-7722, CVE-2026-7723"),
    Requirement("fastapi", "flows", "0.139", "0.151", conflict="the Prefect server then fails"),
    Requirement("aiohttp", "collect", "3.12"),
    Requirement("ccxt", "collect", "4.5.64", "4.5.65", conflict="it pins exact versions that others do not accept"),
    Requirement("matplotlib", "collect", "3.10"),
    Requirement("plotext", "collect", "6.1", "7"),
    Requirement("great-expectations", "validate", "1.24", "2"),
    Requirement("mlflow", "track", "3.11.1", "4", "CVE-2026-0545, CVE-2026-2651, CVE-2026-4137"),
    Requirement("torch", "train", "2.10", None, "CVE-2026-24747"),
    Requirement("safetensors", "train", "0.6"),
    Requirement("onnx", "train", "1.21", None, "CVE-2026-27489, CVE-2026-34446, CVE-2026-34447"),
    Requirement("onnxscript", "train", "0.7.2"),
    Requirement("onnxruntime", "serve", "1.30"),
    Requirement("bentoml", "serve", "1.4.39", "1.5", "CVE-2026-27905, CVE-2026-44345"),
    Requirement("httptools", "serve", "0.6"),
    Requirement("orjson", "serve", "3.11"),
    Requirement("starlette", "serve", "1.0.1", None, "CVE-2026-48710"),
    Requirement("uvicorn", "serve", "0.40"),
    Requirement("uvloop", "serve", "0.21"),
    Requirement("redis", "stream", "8.1", "9"),
    Requirement("confluent-kafka", "stream", "2.16", "3"),
    Requirement("psycopg", "postgres", "3.2", "4"),
)


def parse_release(version: str) -> tuple[int, ...]:
    """Return the numbers of a version; local parts and pre-release marks are ignored.

    >>> parse_release("2.13.0+cpu")
    (2, 13, 0)
    >>> parse_release("3.11.0rc1") < parse_release("3.11.1")
    True
    """
    numbers = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(int(part) for part in numbers.group().split(".")) if numbers else ()


def find_problem(requirement: Requirement, installed: str | None) -> str | None:
    """Return in words why an installed version (None: not installed) does not do, None where it does.

    >>> find_problem(Requirement("onnx", "train", "1.21", None, "CVE-2026-27489"), "1.20.1")
    '1.20.1 is installed, 1.21 or later is needed: CVE-2026-27489'
    """
    if installed is None:
        return "not installed"
    release = parse_release(installed)
    if release < parse_release(requirement.minimum):
        return f"{installed} is installed, {requirement.minimum} or later is needed{_why(requirement.vulnerabilities)}"
    if requirement.below and release >= parse_release(requirement.below):
        return f"{installed} is installed, a version below {requirement.below} is needed{_why(requirement.conflict)}"
    return None


def _why(reason: str) -> str:
    return f": {reason}" if reason else ""


def find_installed(name: str) -> str | None:
    """Return the installed version of a distribution, None where it is missing."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
