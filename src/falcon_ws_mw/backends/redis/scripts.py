"""What Redis does in one step, so that nobody sees half of it.

Each channel that is counted has a hash: `epoch`, `number` (of the last message), `run` (the run of
the server that counts) and `base` (the number with which it began). What a channel carries is

    D <epoch> <number> <data>          a message
    U <data>                           a message of a channel that is not counted
    P <epoch> <number> <base> <node>   where the channel is, for one process
"""

from __future__ import annotations

from hashlib import sha1
from typing import Final

COUNT_SECONDS: Final = 86_400
"""For how long the count of a channel is kept whose holders have all died."""


class Script:
    """A script, and the name that Redis gives it.

    Args:
        text: The script in Lua.
    """

    __slots__ = ('sha', 'text')

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = sha1(text.encode(), usedforsecurity=False).hexdigest()


_COUNTING: Final = """
local function epoch_of(key, run, fresh, seconds)
  local found = redis.call('HMGET', key, 'epoch', 'run')
  if not found[1] then
    redis.call('HSET', key, 'epoch', fresh .. '.0', 'run', run, 'number', 0, 'base', 0)
    redis.call('EXPIRE', key, seconds)
    return fresh .. '.0'
  end
  if found[2] == run then
    return found[1]
  end
  -- Another run of the server, or another server: what was counted last may be gone.
  local text, generation = string.match(found[1], '^(.*)%.(%d+)$')
  local epoch = text .. '.' .. string.format('%d', generation + 1)
  redis.call('HSET', key, 'epoch', epoch, 'run', run, 'base', redis.call('HGET', key, 'number'))
  return epoch
end

local function listeners(key)
  return redis.call('PUBSUB', 'NUMSUB', key)[2]
end
"""

SEND: Final = Script(
    _COUNTING
    + """
-- KEYS: the number of the sender's last message; the channels of each message
-- ARGV: run, fresh epoch, seconds of a count, milliseconds of the sender's number; for each
--   message its number, whether it is counted, how many channels it has, the message
-- Returns for each channel of each message: how many got it, and its number there (0: not counted)
local run, fresh, seconds = ARGV[1], ARGV[2], ARGV[3]
local last = tonumber(redis.call('GET', KEYS[1]) or 0)
local number, next_key, replies = last, 2, {}
for at = 5, #ARGV, 4 do
  number = tonumber(ARGV[at])
  local is_counted, data = ARGV[at + 1] == '1', ARGV[at + 3]
  for i = next_key, next_key + ARGV[at + 2] - 1 do
    local key, reached, counted = KEYS[i], 0, 0
    if number <= last then  -- sent again by one who did not know that it had been taken
      reached = listeners(key)
      counted = is_counted and tonumber(redis.call('HGET', key, 'number') or 0) or 0
    elseif not is_counted then
      reached = redis.call('PUBLISH', key, 'U ' .. data)
    elseif redis.call('EXISTS', key) == 1 or listeners(key) > 0 then
      local epoch = epoch_of(key, run, fresh, seconds)
      counted = redis.call('HINCRBY', key, 'number', 1)
      reached = redis.call('PUBLISH', key, 'D ' .. epoch .. ' ' .. counted .. ' ' .. data)
    end
    replies[#replies + 1] = reached
    replies[#replies + 1] = counted
  end
  next_key = next_key + ARGV[at + 2]
end
if number > last then
  redis.call('SET', KEYS[1], ARGV[#ARGV - 3], 'PX', ARGV[4])
end
return replies
"""
)

LISTEN: Final = Script(
    _COUNTING
    + """
-- KEYS: channels that a process has begun to listen to
-- ARGV: run, fresh epoch, seconds of a count, the process
for _, key in ipairs(KEYS) do
  local epoch = epoch_of(key, ARGV[1], ARGV[2], ARGV[3])
  local place = redis.call('HMGET', key, 'number', 'base')
  redis.call('PUBLISH', key, table.concat({'P', epoch, place[1], place[2], ARGV[4]}, ' '))
end
return #KEYS
"""
)

LEAVE: Final = Script(
    _COUNTING
    + """
-- KEYS: channels that a process does not listen to any more
for _, key in ipairs(KEYS) do
  if listeners(key) == 0 then
    redis.call('DEL', key)
  end
end
return #KEYS
"""
)

HEARTBEAT: Final = Script(
    """
-- KEYS: the processes; what this one holds
-- ARGV: the process, the seconds of its lease
-- Returns whether anything is known of it
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
return redis.call('PEXPIRE', KEYS[2], string.format('%d', ARGV[2] * 1000))
"""
)

LIVING: Final = Script(
    """
-- KEYS: the processes
-- Returns those whose leases have not ended
local time = redis.call('TIME')
return redis.call('ZRANGEBYSCORE', KEYS[1], time[1] + time[2] / 1000000, '+inf')
"""
)

ALL: Final = (SEND, LISTEN, LEAVE, HEARTBEAT, LIVING)
