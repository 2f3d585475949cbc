"""The spool refuses exactly the keys that MLflow would refuse later."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mlflow.exceptions import MlflowException
from mlflow.utils.validation import _validate_metric, _validate_param, _validate_tag

from ratchet.errors import InputError
from ratchet.tracking.keys import check_key

KEYS = st.text(alphabet="aZ9é_-. :/\n\t?%'\"\\\x00", max_size=8) | st.text(max_size=260)


@settings(max_examples=500, deadline=None)
@given(KEYS)
@example("a" * 250)
@example("a" * 251)
@example("a//b")
@example("./a")
@example("..a")
@example("/")
@example("a\n")
def test_a_key_is_taken_by_the_spool_where_mlflow_takes_it(key: str) -> None:
    """Both agree on any text, but for a line's end, which MLflow lets pass."""
    if _mlflow_takes(key) and not key.endswith("\n"):
        check_key("metric", key)
    else:
        with pytest.raises(InputError):
            check_key("metric", key)


def _mlflow_takes(key: str) -> bool:
    refusals = []
    checks: list[Callable[[], object]] = [
        lambda: _validate_metric(key, 1.0, 0, 0),
        lambda: _validate_param(key, "1"),
        lambda: _validate_tag(key, "1"),
    ]
    for validate in checks:
        try:
            validate()
        except MlflowException:
            refusals.append(validate)
    assert len(refusals) in (0, 3)
    return not refusals
