"""How bots, the command line and rollouts talk to the model server."""

from ratchet.client.answers import ModelOnServer, ModelsOnServer, ServedPrediction, ServerHealth
from ratchet.client.http import ModelServerClient

__all__ = ["ModelOnServer", "ModelServerClient", "ModelsOnServer", "ServedPrediction", "ServerHealth"]
