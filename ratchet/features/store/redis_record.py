"""What the online store keeps behind a key of Redis, and the script that replaces it."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ratchet.errors import ArtifactError

# Magic, ts_event_ns, sequence, timeframe_ns, n_time, n_feature, length of the schema hash that follows. Big endian,
# because the script below compares the two times half by half: its numbers are doubles, too coarse for nanoseconds.
_HEADER = struct.Struct(">4sqqqIII")
_MAGIC = b"RON1"

# ARGV: the least order that is stored (-1 any, 0 not older, 1 newer), expiry in ms (0 none), one record per key.
# All keys are looked at before the first is set: an error in between would not undo what was set before.
COMPARE_AND_SET = """
local function order(new, old)
  for part, format in ipairs({'>i4', '>I4', '>i4', '>I4'}) do
    local at = 4 * part + 1
    local a, b = struct.unpack(format, new, at), struct.unpack(format, old, at)
    if a ~= b then return a > b and 1 or -1 end
  end
  return 0
end
local chosen = {}
for i, key in ipairs(KEYS) do
  local new = ARGV[i + 2]
  local length = 40 + struct.unpack('>I4', new, 37)
  local old = redis.call('GETRANGE', key, 0, length - 1)
  local is_same_schema = #old == length and string.sub(old, 1, 4) == string.sub(new, 1, 4)
    and string.sub(old, 37) == string.sub(new, 37, length)
  if not is_same_schema or order(new, old) >= tonumber(ARGV[1]) then chosen[#chosen + 1] = i end
end
for _, i in ipairs(chosen) do
  if ARGV[2] == '0' then
    redis.call('SET', KEYS[i], ARGV[i + 2])
  else
    redis.call('SET', KEYS[i], ARGV[i + 2], 'PX', ARGV[2])
  end
end
return #chosen
"""
ANY_ORDER, NOT_OLDER, NEWER = -1, 0, 1


@dataclass(frozen=True, slots=True)
class RedisRecord:
    """What is behind one key; a vector has one row and no timeframe, a window no sequence."""

    schema_hash: str
    ts_event_ns: int
    sequence: int
    timeframe_ns: int
    shape: tuple[int, int]
    packed: bytes

    def to_bytes(self) -> bytes:
        """Return header, schema hash and values, as `COMPARE_AND_SET` expects them."""
        schema = self.schema_hash.encode()
        header = _HEADER.pack(_MAGIC, self.ts_event_ns, self.sequence, self.timeframe_ns, *self.shape, len(schema))
        return header + schema + self.packed

    @classmethod
    def from_bytes(cls, name: str, stored: bytes) -> RedisRecord:
        """Read what `to_bytes` wrote; `name` says in errors whose it is.

        Raises:
            ArtifactError: it is something else.
        """
        try:
            magic, ts_event_ns, sequence, timeframe_ns, n_time, n_feature, n_schema = _HEADER.unpack_from(stored)
            schema_end = _HEADER.size + n_schema
            schema_hash = stored[_HEADER.size : schema_end].decode()
        except (struct.error, UnicodeDecodeError) as error:
            raise ArtifactError(f"{name}: {len(stored)} bytes that are no record") from error
        if magic != _MAGIC:
            raise ArtifactError(f"{name}: {magic!r} is not the mark of this release's records, {_MAGIC!r}")
        return cls(schema_hash, ts_event_ns, sequence, timeframe_ns, (n_time, n_feature), stored[schema_end:])
