from ratchet.exchanges.source import VENUES
from ratchet.exchanges.venues.exchange import VenueExchange

__all__ = ["VENUES", "VenueExchange"]
