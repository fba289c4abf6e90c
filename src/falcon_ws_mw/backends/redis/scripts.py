"""What Redis does in one step, so that nobody sees half of it.

Each channel that is counted has a hash: `epoch`, `number` (of the last message) and `run` (the run
of the server that counts). What a channel carries is

    D <epoch> <number> <data>   a message
    U <data>                    a message of a channel that is not counted
    P <epoch> <number> <node>   where the channel is, for one process

A server that was restarted, or is another one, may have lost the last of its count. Then it begins
another epoch; unless it writes down each command before anybody sees its effect, as a session finds
out.
"""

from __future__ import annotations

from hashlib import sha1
from typing import Final, Literal

COUNT_SECONDS: Final = 86_400
"""For how long the count of a channel is kept whose holders have all died."""

SESSION_FIELD: Final = '.'
"""Where the hash of what a process holds says in which session it was written."""


class Script:
    """A script, and the name that Redis gives it.

    Args:
        text: The script in Lua.
    """

    __slots__ = ('sha', 'text')

    def __init__(self, text: str) -> None:
        self.text = text
        self.sha = sha1(text.encode(), usedforsecurity=False).hexdigest()


class Dialect:
    """How a server is spoken to: by its channels, or by those of one of the shards of a cluster.

    Args:
        prefix: What the names of the commands for channels begin with, `'S'` for a shard's.

    Attributes:
        subscribe: The command.
        unsubscribe: The command.
        numsub: The subcommand of PUBSUB that counts who listens.
        message: What a message is called.
        unsubscribed: What the end of a subscription is called.
        send: Sends messages.
        listen: Is told of new listeners.
        leave: Is told that there are fewer.
        heartbeat: Renews a lease.
        living: Says which processes live.
    """

    def __init__(self, prefix: Literal['', 'S'] = '') -> None:
        self.subscribe = f'{prefix}SUBSCRIBE'
        self.unsubscribe = f'{prefix}UNSUBSCRIBE'
        self.numsub = 'SHARDNUMSUB' if prefix else 'NUMSUB'
        self.message = f'{prefix}MESSAGE'.lower().encode()
        self.unsubscribed = self.unsubscribe.lower().encode()
        self.send, self.listen, self.leave, self.heartbeat, self.living = self.scripts = [
            Script(text.replace('{PUBLISH}', f'{prefix}PUBLISH').replace('{NUMSUB}', self.numsub))
            for text in (_SEND, _LISTEN, _LEAVE, _HEARTBEAT, _LIVING)
        ]


_COUNTING: Final = """
-- is_durable: '1' if the count that there is can be relied upon after a restart
local function epoch_of(key, run, is_durable, fresh, seconds)
  local found = redis.call('HMGET', key, 'epoch', 'run')
  if found[1] and found[2] == run then
    return found[1]
  end
  if found[1] and is_durable == '1' then
    redis.call('HSET', key, 'run', run)
    return found[1]
  end
  redis.call('HSET', key, 'epoch', fresh, 'run', run, 'number', 0)
  redis.call('EXPIRE', key, seconds)
  return fresh
end

local function listeners(key)
  return redis.call('PUBSUB', '{NUMSUB}', key)[2]
end
"""

_SEND: Final = (
    _COUNTING
    + """
-- KEYS: the number of the sender's last message; the channels of each message
-- ARGV: run, is_durable, fresh epoch, seconds of a count, milliseconds of the sender's number; for
--   each message its number, whether it is counted, how many channels it has, the message
-- Returns for each channel of each message: how many listen, its number there, and the epoch
local last = tonumber(redis.call('GET', KEYS[1]) or 0)
local number, next_key, replies = last, 2, {}
for at = 6, #ARGV, 4 do
  number = tonumber(ARGV[at])
  local is_counted, data = ARGV[at + 1] == '1', ARGV[at + 3]
  for i = next_key, next_key + ARGV[at + 2] - 1 do
    local key, counted, epoch = KEYS[i], 0, ''
    local reached = listeners(key)
    if number <= last then  -- sent again by one who did not know that it had been taken
      if is_counted then
        local place = redis.call('HMGET', key, 'number', 'epoch')
        counted, epoch = tonumber(place[1] or 0), place[2] or ''
      end
    elseif not is_counted then
      redis.call('{PUBLISH}', key, 'U ' .. data)
    elseif reached > 0 or redis.call('EXISTS', key) == 1 then
      epoch = epoch_of(key, ARGV[1], ARGV[2], ARGV[3], ARGV[4])
      counted = redis.call('HINCRBY', key, 'number', 1)
      redis.call('{PUBLISH}', key, 'D ' .. epoch .. ' ' .. counted .. ' ' .. data)
    end
    replies[#replies + 1] = reached
    replies[#replies + 1] = counted
    replies[#replies + 1] = epoch
  end
  next_key = next_key + ARGV[at + 2]
end
if number > last then
  redis.call('SET', KEYS[1], ARGV[#ARGV - 3], 'PX', ARGV[5])
end
return replies
"""
)

_LISTEN: Final = (
    _COUNTING
    + """
-- KEYS: channels that a process has begun to listen to
-- ARGV: run, is_durable, fresh epoch, seconds of a count, the process
for _, key in ipairs(KEYS) do
  local epoch = epoch_of(key, ARGV[1], ARGV[2], ARGV[3], ARGV[4])
  redis.call('EXPIRE', key, ARGV[4])
  local number = redis.call('HGET', key, 'number')
  redis.call('{PUBLISH}', key, table.concat({'P', epoch, number, ARGV[5]}, ' '))
end
return #KEYS
"""
)

_LEAVE: Final = (
    _COUNTING
    + """
-- KEYS: the processes; channels that one of them does not listen to any more
-- ARGV: that one, what keys begin with, the milliseconds of a lease
local silent, fields = {}, {}
for i = 2, #KEYS do
  if listeners(KEYS[i]) == 0 then
    silent[#silent + 1] = KEYS[i]
    fields[#fields + 1] = KEYS[i]:sub(#ARGV[2] + 2)
  end
end
if #silent == 0 then
  return 0
end

local is_held = {}
for _, node in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '+inf')) do
  if node ~= ARGV[1] then  -- PERF: one command for all, since each call from Lua costs a few µs
    for i, count in ipairs(redis.call('HMGET', ARGV[2] .. ':holds:' .. node, unpack(fields))) do
      is_held[i] = is_held[i] or count
    end
  end
end
for i, key in ipairs(silent) do
  if is_held[i] then  -- by one who is away: until his lease ends he may ask how far it is
    redis.call('PEXPIRE', key, ARGV[3])
  else
    redis.call('DEL', key)
  end
end
return #silent
"""
)

_HEARTBEAT: Final = f"""
-- KEYS: the processes; what this one holds
-- ARGV: the process, the seconds of its lease, its token
-- Returns whether Redis knows what it holds, as it was last told in full
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], string.format('%d', ARGV[2] * 2000))
redis.call('PEXPIRE', KEYS[2], string.format('%d', ARGV[2] * 1000))
return redis.call('HGET', KEYS[2], '{SESSION_FIELD}') == ARGV[3] and 1 or 0
"""

_LIVING: Final = """
-- KEYS: the processes
-- Returns those whose leases have not ended
local time = redis.call('TIME')
return redis.call('ZRANGEBYSCORE', KEYS[1], time[1] + time[2] / 1000000, '+inf')
"""

PLAIN: Final = Dialect()
SHARDED: Final = Dialect('S')
