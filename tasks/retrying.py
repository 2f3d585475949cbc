"""When a task is tried again: only where the error's type says that it may help."""

from __future__ import annotations

from typing import Any

from prefect import Task
from prefect.client.schemas.objects import State, TaskRun

from ratchet.errors import TransientError


def is_worth_retrying(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Return whether the task failed with a `TransientError`."""
    return isinstance(state.result(raise_on_failure=False), TransientError)
