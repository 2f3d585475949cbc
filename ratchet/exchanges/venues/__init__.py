from ratchet.exchanges.venues.exchange import VenueExchange
from ratchet.exchanges.venues.table import VENUES

__all__ = ["VENUES", "VenueExchange"]
