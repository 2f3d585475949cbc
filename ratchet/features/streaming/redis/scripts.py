"""What must happen at once inside Redis, in Lua.

Every script that writes for an owner begins with the fence: the lease still holds the owner's token (`OWNER#EPOCH`; the
epoch only rises, so no two owners ever have the same), and the group stands where the owner believes it to stand. An
owner that was paused, or a server that came back with older data, fails one of the two, and nothing is written.

The scripts name keys beyond those declared (the marks of all groups): one Redis, not Redis Cluster.
"""

from __future__ import annotations

ACQUIRE = """
-- KEYS lease mark events config; ARGV owner lease_ms previous_token group partition
local held = redis.call('GET', KEYS[1])
if held and held ~= ARGV[3] then return false end
local token = ARGV[1] .. '#' .. redis.call('HINCRBY', KEYS[2], 'epoch', 1)
redis.call('SET', KEYS[1], token, 'PX', ARGV[2])
if redis.call('HEXISTS', KEYS[2], 'last_id') == 0 then
  local trimmed = redis.call('HGET', KEYS[4], 'trimmed:' .. ARGV[5]) or '0'
  redis.call('HSET', KEYS[2], 'last_id', '0-0', 'row_id', '0-0', 'taken', trimmed, 'poison', '0')
end
redis.pcall('XGROUP', 'CREATE', KEYS[3], ARGV[4], '0', 'MKSTREAM')
return token
"""
"""Take a free lease, or one's own from before a lost connection; returns the token, or nothing where it is held."""

RENEW = """
-- KEYS lease; ARGV token lease_ms
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 'LOST' end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 'OK'
"""

RELEASE = """
-- KEYS lease; ARGV token
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 'OK'
"""

STORE = """
-- KEYS lease mark rows; ARGV token lease_ms row_id keep_rows, then per entry: id n row...
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 'LOST' end
if redis.call('HGET', KEYS[2], 'row_id') ~= ARGV[3] then return 'MOVED' end
local at, id = 5, ARGV[3]
while at <= #ARGV do
  id = ARGV[at]
  local add = {'XADD', KEYS[3]}
  if ARGV[4] ~= '' then
    add[3], add[4], add[5] = 'MAXLEN', '~', ARGV[4]
  end
  add[#add + 1] = id
  for number = 1, tonumber(ARGV[at + 1]) do
    add[#add + 1] = number - 1
    add[#add + 1] = ARGV[at + 1 + number]
  end
  redis.call(unpack(add))
  at = at + 2 + tonumber(ARGV[at + 1])
end
redis.call('HSET', KEYS[2], 'row_id', id)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 'OK'
"""
"""Append rows under the ids of the events that caused them."""

CHECKPOINT = """
-- KEYS lease mark state events poison config groups
-- ARGV token lease_ms last_id new_last_id n_taken counts group prefix partition keep_poison n_parts,
--      then per part: name bytes, then per poisonous message: id reason bytes
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 'LOST' end
if redis.call('HGET', KEYS[2], 'last_id') ~= ARGV[3] then return 'MOVED' end
local at = 12
for _ = 1, tonumber(ARGV[11]) do
  redis.call('HSET', KEYS[3], ARGV[at], ARGV[at + 1])
  at = at + 2
end
while at <= #ARGV do
  redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[10], '*',
    'partition', ARGV[9], 'id', ARGV[at], 'reason', ARGV[at + 1], 'message', ARGV[at + 2])
  redis.call('HINCRBY', KEYS[2], 'poison', 1)
  at = at + 3
end
redis.call('HSET', KEYS[2], 'last_id', ARGV[4], 'counts', ARGV[6])
local taken = redis.call('HINCRBY', KEYS[2], 'taken', ARGV[5])
redis.call('XGROUP', 'SETID', KEYS[4], ARGV[7], ARGV[4])

local function before(one, other)
  local one_ms, one_seq = one:match('(%d+)-(%d+)')
  local other_ms, other_seq = other:match('(%d+)-(%d+)')
  if one_ms == other_ms then one_ms, other_ms = one_seq, other_seq end
  if #one_ms ~= #other_ms then return #one_ms < #other_ms end
  return one_ms < other_ms
end
local floor = ARGV[4]
for _, group in ipairs(redis.call('SMEMBERS', KEYS[7])) do
  local id = redis.call('HGET', ARGV[8] .. ':' .. group .. ':mark:' .. ARGV[9], 'last_id') or '0-0'
  if before(id, floor) then floor = id end
end
local n_trimmed = redis.call('XTRIM', KEYS[4], 'MINID', floor)
local trimmed = redis.call('HINCRBY', KEYS[6], 'trimmed:' .. ARGV[9], n_trimmed)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return trimmed + redis.call('XLEN', KEYS[4]) - taken
"""
"""Write the state, move the group on (the acknowledgement), set poison aside and trim, all or nothing.

Returns how many entries wait.
"""
