"""Every error the library raises, in one tree.

    RatchetError
    ├── PermanentError                  trying again cannot help; the message says what to change
    │   ├── ConfigurationError          a setting, an option or a missing optional package
    │   ├── InputError                  the user's files, symbols or history cannot be used
    │   ├── DataQualityError            a validation suite failed; names rows and reasons
    │   ├── LeakageError                an operation would let a model see its own test window
    │   ├── ArtifactError               a stored file is missing, altered or of the wrong kind
    │   ├── RegistryConflictError       the registry moved on, or a rule of its state machine refuses
    │   ├── NotFoundError               no such model, version, dataset or run
    │   └── CandidateRejectedError      a model failed a technical check (parity, health, finite output)
    └── TransientError                  the same call may succeed later
        ├── UnavailableError            a service did not answer or could not be reached
        └── BusyError                   a lock or lease is held by someone else

Foreign exceptions that can cross a port are translated into these by the adapter. HTTP status codes are
chosen in `serving` only; the CLI prints the message alone and exits with `exit_code`.
"""

from __future__ import annotations


class RatchetError(Exception):
    """Root of all errors raised on purpose; `exit_code` is what the CLI returns."""

    exit_code = 1


class PermanentError(RatchetError):
    """Trying again cannot help."""


class ConfigurationError(PermanentError):
    """A setting, an option or an optional package is wrong or missing."""

    exit_code = 2


class InputError(PermanentError):
    """What the user supplied cannot be used: a path, a column, a symbol, a history too short."""

    exit_code = 2


class DataQualityError(PermanentError):
    """A validation suite failed."""

    exit_code = 3


class LeakageError(PermanentError):
    """An operation would judge a model on data that it was trained on."""

    exit_code = 4


class ArtifactError(PermanentError):
    """A stored file is missing, was altered, or is not what its name says."""

    exit_code = 5


class RegistryConflictError(PermanentError):
    """The registry's state does not allow the change, or changed since it was read."""

    exit_code = 6


class NotFoundError(PermanentError):
    """No such model, version, dataset or run."""

    exit_code = 7


class CandidateRejectedError(PermanentError):
    """A candidate model failed a technical check and may not be registered."""

    exit_code = 8


class TransientError(RatchetError):
    """The same call may succeed later."""

    exit_code = 10


class UnavailableError(TransientError):
    """A service could not be reached or did not answer in time."""


class BusyError(TransientError):
    """A lock or lease is held by someone else."""
