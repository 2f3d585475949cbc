"""The simulated exchange as a server: real HTTP and WebSocket, in the dialects of five venues, with faults on request.

Open `server.py` for how a request is answered, `dialects/` for the words of each venue, `faults.py` for what can go
wrong and `plan.py` for when it does.
"""

from ratchet.exchanges.simulated.server.faults import FaultKind
from ratchet.exchanges.simulated.server.frame import FrameExchange
from ratchet.exchanges.simulated.server.limits import RateLimit
from ratchet.exchanges.simulated.server.plan import FaultPlan
from ratchet.exchanges.simulated.server.server import ExchangeServer

__all__ = ["ExchangeServer", "FaultKind", "FaultPlan", "FrameExchange", "RateLimit"]
