"""The model server over HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Self, TypeVar

import httpx
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from ratchet.client.answers import BatchAnswer, ModelsOnServer, Refusal, ServedPrediction, ServerHealth
from ratchet.errors import (
    ConfigurationError,
    InputError,
    NotFoundError,
    RatchetError,
    RegistryConflictError,
    UnavailableError,
)

ServedStage = Literal["production", "staging"]
_Reply = TypeVar("_Reply", bound=BaseModel)
_ERRORS: Mapping[int, type[RatchetError]] = {404: NotFoundError, 409: RegistryConflictError, 421: ConfigurationError}


class ModelServerClient:
    """Asks the model server; use it as a context manager or call `close`. Threads may share one.

    Every method raises UnavailableError where the server cannot be reached, does not answer in time, or has nothing
    to answer with.

    Args:
        base_url: for example `http://127.0.0.1:8001`.
        timeout_s: how long one call may take.
        transport: what carries the requests; None: the network.

    Raises:
        ConfigurationError: the URL is not an http(s) address.
    """

    def __init__(self, base_url: str, timeout_s: float = 5.0, *, transport: httpx.BaseTransport | None = None) -> None:
        if not base_url.startswith(("http://", "https://")):
            raise ConfigurationError(f"model server {base_url!r}: expected http://HOST:PORT")
        self._base_url = base_url.rstrip("/")
        self._timeout_s = timeout_s
        self._http = httpx.Client(
            base_url=f"{self._base_url}/api/ml/", timeout=timeout_s, trust_env=False, transport=transport
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def predict(
        self,
        symbol: str | None = None,
        *,
        window: NDArray[np.float32] | None = None,
        model: str | None = None,
        stage: ServedStage = "production",
    ) -> ServedPrediction:
        """Return a prediction from the symbol's newest window, or from `window`.

        Args:
            symbol: for example BTC/USDT; may be left out where a window is given.
            window: float32 (time, feature), oldest row first.
            model: None: the most recently promoted model that covers the symbol.
            stage: `staging` asks the version that waits for promotion.

        Raises:
            NotFoundError: no such model, or no model covers the symbol.
            InputError: the window has the wrong shape or holds numbers that are not finite.
        """
        return self._post("predict", ServedPrediction, _question(symbol, window, model, stage))

    def predict_batch(
        self, symbols: Sequence[str], *, model: str | None = None, stage: ServedStage = "production"
    ) -> tuple[ServedPrediction, ...]:
        """Return one prediction per symbol, in their order; a symbol that cannot be answered fails the call.

        Raises:
            NotFoundError: no such model, or no model covers one of the symbols.
            InputError: no symbols, or more than a batch may hold.
        """
        questions = [_question(symbol, None, model, stage) for symbol in symbols]
        return self._post("predict/batch", BatchAnswer, {"requests": questions}).predictions

    def reload(self) -> ModelsOnServer:
        """Make the server look at the registry now, and return what it serves from then on."""
        return self._post("models/reload", ModelsOnServer, {})

    def models(self) -> ModelsOnServer:
        """Return what the server serves."""
        return self._read("GET", "models", ModelsOnServer)

    def health(self) -> ServerHealth:
        """Return the server's opinion of itself."""
        return self._read("GET", "health", ServerHealth)

    def is_healthy(self) -> bool:
        """Tell whether the server answers and serves everything that the registry wants served."""
        try:
            return self.health().status == "ok"
        except RatchetError:
            return False

    def production_version(self, model: str) -> str | None:
        """Return the version of `model` that answers production requests, None where there is none."""
        served = self.models().models
        return next((each.version for each in served if (each.model, each.stage) == (model, "production")), None)

    def _post(self, path: str, kind: type[_Reply], content: object) -> _Reply:
        return self._read("POST", path, kind, content)

    def _read(self, method: str, path: str, kind: type[_Reply], content: object = None) -> _Reply:
        response = self._send(method, path, content)
        try:
            if response.is_success:
                return kind.model_validate_json(response.content)
            refusal = Refusal.model_validate_json(response.content)
        except ValidationError as error:
            raise UnavailableError(
                f"what answers at {self._base_url} (status {response.status_code}) is no model server of this release"
            ) from error
        raise _error_kind(response.status_code)(refusal.error)

    def _send(self, method: str, path: str, content: object) -> httpx.Response:
        try:
            return self._http.request(method, path, json=content)
        except httpx.ConnectError as error:
            raise UnavailableError(f"no model server at {self._base_url}; start it with: ratchet serve") from error
        except httpx.TimeoutException as error:
            raise UnavailableError(
                f"the model server at {self._base_url} did not answer within {self._timeout_s:g} s"
            ) from error
        except httpx.RequestError as error:
            raise UnavailableError(
                f"the model server at {self._base_url} broke off: {error or type(error).__name__}"
            ) from error


def _question(
    symbol: str | None, window: NDArray[np.float32] | None, model: str | None, stage: ServedStage
) -> dict[str, object]:
    if window is not None and not np.isfinite(window).all():
        raise InputError("the window holds numbers that are not finite")
    named = {"symbol": symbol, "model": model, "window": None if window is None else window.tolist()}
    return {"stage": stage} | {key: value for key, value in named.items() if value is not None}


def _error_kind(status: int) -> type[RatchetError]:
    if status == 429 or status >= 500:
        return UnavailableError
    return _ERRORS.get(status, InputError)
