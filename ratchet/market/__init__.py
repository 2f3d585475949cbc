from ratchet.market.candles import CANDLE_COLUMNS, PRICE_COLUMNS, as_candle_frame
from ratchet.market.symbols import Timeframe, parse_symbol, symbol_slug

__all__ = ["CANDLE_COLUMNS", "PRICE_COLUMNS", "Timeframe", "as_candle_frame", "parse_symbol", "symbol_slug"]
