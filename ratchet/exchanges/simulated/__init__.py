"""A market that runs offline, repeats exactly from its seed, and hides a signal of known strength.

Open `signal.py` for what is planted, `path.py` for how prices come about, `market.py` for what can be asked.
"""

from ratchet.exchanges.simulated.config import SimulatedMarketConfig
from ratchet.exchanges.simulated.exchange import SimulatedExchange
from ratchet.exchanges.simulated.market import SimulatedMarket
from ratchet.exchanges.simulated.signal import planted_drift

__all__ = ["SimulatedExchange", "SimulatedMarket", "SimulatedMarketConfig", "planted_drift"]
