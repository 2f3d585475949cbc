"""Which models answer now: one immutable table, replaced in one assignment whenever the registry has moved on."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import get_args

from ratchet.errors import NotFoundError, RatchetError, UnavailableError
from ratchet.registry.base import ModelRegistry, ModelVersion
from serving.loader import LoadedModel, load_model
from serving.schemas import ServedStage

STAGES: tuple[ServedStage, ...] = get_args(ServedStage)
_NO_EPOCH = -1

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Slot:
    """A model in one stage; `since_epoch` and `since_ns` say when the registry gave it that stage."""

    stage: ServedStage
    model: LoadedModel
    since_epoch: int
    since_ns: int


@dataclass(frozen=True, slots=True)
class Failure:
    """A version that should be served and could not be loaded."""

    stage: ServedStage
    name: str
    version: str
    error: str


@dataclass(frozen=True, slots=True)
class Table:
    """Everything that is served at one state (`epoch`) of the registry."""

    epoch: int
    known_names: frozenset[str]
    slots: Mapping[tuple[ServedStage, str], Slot]
    newest: Mapping[tuple[ServedStage, str], LoadedModel]
    failures: tuple[Failure, ...]

    @classmethod
    def build(cls, epoch: int, known: Iterable[str], slots: Iterable[Slot], failures: Iterable[Failure]) -> Table:
        """Index the slots by name, and by symbol: there the model that got its stage last wins."""
        by_age = sorted(slots, key=lambda slot: slot.since_epoch)
        return cls(
            epoch=epoch,
            known_names=frozenset(known),
            slots=MappingProxyType({(slot.stage, slot.model.name): slot for slot in by_age}),
            newest=MappingProxyType(
                {(slot.stage, symbol): slot.model for slot in by_age for symbol in slot.model.symbols}
            ),
            failures=tuple(failures),
        )

    def choose(self, stage: ServedStage, name: str | None, symbol: str | None) -> LoadedModel:
        """Return the named model, or the one that got its stage last among those that cover the symbol.

        Raises:
            NotFoundError: the model is not registered, or no model covers the symbol.
            UnavailableError: nothing is in that stage.
        """
        if name is not None:
            return self._named(stage, name, symbol)
        if symbol is not None and (found := self.newest.get((stage, symbol))):
            return found
        staged = [slot for slot in self.slots.values() if slot.stage == stage]
        if not staged:
            raise UnavailableError(f"no {stage} model is loaded; train one with: ratchet run")
        if symbol is None:
            return staged[-1].model
        covered = sorted({symbol for slot in staged for symbol in slot.model.symbols})
        raise NotFoundError(f"no {stage} model covers {symbol!r}; covered: {', '.join(covered)}")

    def _named(self, stage: ServedStage, name: str, symbol: str | None) -> LoadedModel:
        slot = self.slots.get((stage, name))
        if slot is None and name not in self.known_names:
            raise NotFoundError(f"no model {name!r}; registered: {', '.join(sorted(self.known_names)) or 'none'}")
        if slot is None:
            raise UnavailableError(f"model {name} has no {stage} version loaded")
        if symbol is not None and symbol not in slot.model.symbols:
            raise NotFoundError(f"model {name} does not cover {symbol!r}; covered: {', '.join(slot.model.symbols)}")
        return slot.model


class ModelTable:
    """Keeps a `Table` in step with the registry.

    `current` is read from any thread. `refresh` does the slow work (reading, loading, checking) on the caller's
    thread: call it off the event loop. A version that cannot be loaded leaves its predecessor serving.
    """

    def __init__(self, registry: ModelRegistry) -> None:
        self._registry = registry
        self._refreshing = threading.Lock()
        self._table = Table.build(_NO_EPOCH, (), (), ())
        self._registry_problem: str | None = None

    @property
    def current(self) -> Table:
        """The table to answer from; take it once per request."""
        return self._table

    @property
    def registry_problem(self) -> str | None:
        """Why the registry could not be read at the last look; None where it could."""
        return self._registry_problem

    def refresh(self) -> Table:
        """Look at the registry, load what is new, and return the table that is served from now on."""
        with self._refreshing:
            try:
                epoch = self._registry.epoch()  # read before the versions: a change in between is seen next time
                if epoch != self._table.epoch or self._table.failures:
                    self._swap(self._build(epoch))
                self._registry_problem = None
            except RatchetError as error:
                self._registry_problem = str(error)
                logger.warning("registry cannot be read, the loaded models stay: %s", error)
            return self._table

    def _swap(self, table: Table) -> None:
        before, self._table = self._table, table
        if set(table.failures) - set(before.failures):
            for failure in table.failures:
                logger.error("%s %s cannot be served: %s", failure.name, failure.version, failure.error)
        for key, slot in table.slots.items():
            if before.slots.get(key) != slot:
                logger.info("serving %s %s in %s", slot.model.name, slot.model.version, slot.stage)

    def _build(self, epoch: int) -> Table:
        versions = self._registry.list_models()
        slots: list[Slot] = []
        failures: list[Failure] = []
        for version in versions:
            if version.stage not in STAGES:
                continue
            try:
                slots.append(self._slot(version.stage, version))
            except RatchetError as error:
                failures.append(Failure(version.stage, version.name, version.version, " ".join(str(error).split())))
                if kept := self._table.slots.get((version.stage, version.name)):
                    slots.append(kept)
        return Table.build(epoch, {version.name for version in versions}, slots, failures)

    def _slot(self, stage: ServedStage, version: ModelVersion) -> Slot:
        model = self._reuse(version) or load_model(self._registry, version)
        events = [event for event in self._registry.history(version.name) if event.version == version.version]
        last = max(events, key=lambda event: event.epoch)
        return Slot(stage, model, last.epoch, last.ts_ns)

    def _reuse(self, version: ModelVersion) -> LoadedModel | None:
        for slot in self._table.slots.values():
            model = slot.model
            if (model.name, model.version, model.digest) == (version.name, version.version, version.digest):
                return model
        return None
