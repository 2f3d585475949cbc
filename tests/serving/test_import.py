from __future__ import annotations

import subprocess
import sys

from tests.serving.workshop import REPOSITORY

_FOREIGN = ("torch", "prefect", "mlflow", "pandas", "sklearn", "scipy", "optuna", "great_expectations")


def test_importing_the_service_leaves_heavy_packages_unloaded() -> None:
    """The server's process never pays for, or depends on, what only training and flows need."""
    assert _printed(f"import sys, serving.service; print([m for m in {_FOREIGN} if m in sys.modules])") == "[]"


def test_there_is_one_service_and_it_depends_on_nothing() -> None:
    """BentoML services that depend on each other would exchange pickle; ours is alone."""
    code = "from serving.service import Predictor as p; print([*p.all_services(), *p.dependencies, *p.apis])"
    assert _printed(code) == "['Predictor']"


def _printed(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return done.stdout.strip()
