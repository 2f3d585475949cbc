"""Guards of the house: small facts that must stay true whatever is added."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from packaging.version import Version

import ratchet
from ratchet import errors
from ratchet.errors import ConfigurationError, PermanentError, RatchetError, TransientError
from ratchet.settings import TELEMETRY_OFF, Settings, load_settings, silence_telemetry

ROOT = Path(__file__).resolve().parents[2]
CODE = ("ratchet", "flows", "tasks", "serving", "models")
SOURCES = [path for folder in CODE for path in sorted((ROOT / folder).rglob("*.py"))]
PICKLING = {"pickle", "cloudpickle", "dill", "joblib", "shelve"}
MINIMUMS = {
    "mlflow": "3.11.1",
    "bentoml": "1.4.39",
    "prefect": "3.6.22",
    "starlette": "1.0.1",
    "onnx": "1.21",
    "torch": "2.10",
}


def test_every_error_descends_from_the_root_and_says_whether_to_try_again() -> None:
    """No exception class escapes the tree, and each is transient or permanent."""
    classes = [cls for _, cls in inspect.getmembers(errors, inspect.isclass)]
    leaves = [cls for cls in classes if cls not in (RatchetError, PermanentError, TransientError)]
    assert all(issubclass(cls, RatchetError) for cls in classes)
    assert all(issubclass(cls, PermanentError) != issubclass(cls, TransientError) for cls in leaves)
    assert all(cls.__name__ in (errors.__doc__ or "") for cls in classes)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_pickle_crosses_a_trust_boundary(path: Path) -> None:
    """No module unpickles: of pickle only its error may be named, and torch.load needs weights_only=True."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in PICKLING
        if isinstance(node, ast.Import):
            assert not {alias.name.split(".")[0] for alias in node.names} & (PICKLING - {"pickle"})
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pickle":
            assert node.attr == "UnpicklingError"
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
            assert any(kw.arg == "weights_only" and ast.unparse(kw.value) == "True" for kw in node.keywords)


def test_modules_stay_small() -> None:
    """No module grows over 400 lines."""
    assert [str(path) for path in SOURCES if len(path.read_text().splitlines()) > 400] == []


def test_public_names_exist() -> None:
    """Every name in a package's `__all__` can be imported (ruff keeps them sorted)."""
    for module in pkgutil.walk_packages(ratchet.__path__, "ratchet."):
        if module.ispkg:
            package = importlib.import_module(module.name)
            names = list(getattr(package, "__all__", []))
            assert all(hasattr(package, name) for name in names), module.name


def test_prefect_entrypoints_are_module_paths_of_flows() -> None:
    """Each deployment names a flow by module path, because a file path would import it under another name."""
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    assert {deployment["name"] for deployment in deployments}
    for deployment in deployments:
        module, _, name = deployment["entrypoint"].rpartition(".")
        assert "/" not in deployment["entrypoint"]
        assert type(getattr(importlib.import_module(module), name)).__name__ == "Flow"


def test_no_flow_file_shadows_a_package() -> None:
    """A file in flows/ is named neither like a root package nor like a dependency."""
    taken = {*CODE, "prefect", "mlflow", "torch", "optuna", "pandas", "bentoml"}
    assert not {path.stem for path in (ROOT / "flows").glob("*.py")} & taken


def test_installed_versions_are_above_known_vulnerabilities() -> None:
    """The pinned versions are not older than the first ones without published holes."""
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    for name, minimum in MINIMUMS.items():
        assert Version(pins[name]) >= Version(minimum), name
    assert Version(pins["fastapi"]) < Version("0.151"), "Prefect's server does not start with newer ones"


def test_the_prefect_server_imports_with_the_pinned_fastapi() -> None:
    """Prefect's server application can be built, which `pip check` alone does not tell."""
    code = "from prefect.server.api.server import create_app; print(create_app)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stderr[-2000:]


def test_constraints_hold_names_and_versions_only() -> None:
    """The constraints file carries no address and no local version."""
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        name, _, version = line.partition("==")
        assert name
        assert Version(version).local is None


def test_telemetry_is_off_unless_the_user_chose_otherwise() -> None:
    """Importing an edge package switches the telemetry of every dependency off, and respects a user's own value."""
    environ = {"DO_NOT_TRACK": "false"}
    silence_telemetry(environ)
    assert environ["DO_NOT_TRACK"] == "false"
    assert {name: environ[name] for name in TELEMETRY_OFF if name != "DO_NOT_TRACK"} == {
        name: value for name, value in TELEMETRY_OFF.items() if name != "DO_NOT_TRACK"
    }
    code = "import flows, os; print(os.environ['MLFLOW_DISABLE_TELEMETRY'])"
    untouched = {name: value for name, value in os.environ.items() if name not in TELEMETRY_OFF}
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=untouched, check=True
    )
    assert result.stdout.strip() == "true"


def test_help_stays_light() -> None:
    """`ratchet --help` imports none of the heavy packages."""
    code = (
        "import sys; from typer.testing import CliRunner; from ratchet.cli.main import app; "
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0; "
        "print(sorted({'torch', 'mlflow', 'prefect', 'great_expectations', 'bentoml', 'sklearn'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert result.stdout.strip() == "[]"


def test_settings_are_documented_and_refuse_what_they_do_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every field has a description, unknown nested keys fail, and the error names the variable."""
    page = (ROOT / "docs" / "reference" / "settings.md").read_text()
    for name, field in Settings.model_fields.items():
        nested = getattr(field.annotation, "model_fields", {})
        for key, inner in nested.items():
            assert inner.description
            assert f"`RATCHET_{name.upper()}__{key.upper()}`" in page
        if not nested:
            assert field.description
            assert f"`RATCHET_{name.upper()}`" in page
    monkeypatch.setenv("RATCHET_SERVING__PORT", "many")
    with pytest.raises(ConfigurationError, match="RATCHET_SERVING__PORT"):
        load_settings()
