from ratchet.exchanges.simulated import SimulatedExchange, SimulatedMarket, SimulatedMarketConfig

__all__ = ["SimulatedExchange", "SimulatedMarket", "SimulatedMarketConfig"]
