"""How each venue talks: one module per venue, all of the shape in `dialect.py`."""

from ratchet.exchanges.simulated.server.dialects.binance import BinanceDialect
from ratchet.exchanges.simulated.server.dialects.bybit import BybitDialect
from ratchet.exchanges.simulated.server.dialects.coinbase import CoinbaseDialect
from ratchet.exchanges.simulated.server.dialects.dialect import Dialect
from ratchet.exchanges.simulated.server.dialects.kraken import KrakenDialect
from ratchet.exchanges.simulated.server.dialects.okx import OkxDialect

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (BinanceDialect(), BybitDialect(), CoinbaseDialect(), KrakenDialect(), OkxDialect())
}

__all__ = ["DIALECTS"]
