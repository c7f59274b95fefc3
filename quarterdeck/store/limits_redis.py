"""Counters that replicas share, in Redis; each replica's share of them while Redis does not answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

from quarterdeck.store.limits import MemoryLimits, Room, Want
from quarterdeck.store.redis_link import RedisLink, redis_client

__all__ = ["PREFIX", "RedisLimits"]

PREFIX = "qd:limit:"

# The counters of a group carry its name in braces, so that they lie on one node of a cluster:
#   a bucket  is a hash: level, and at, in seconds since 1970, when it was that
#   a window  is a list of instants, the oldest first
# ARGV[1] is the time, empty for the server's, since replicas' clocks differ. Then four for each key: amount, window, burst
# (empty for a window), milliseconds until the counter says nothing any more.
# What lies in the future, since the clock was set back or another node with a clock of its own took over, counts as of now.
# All is looked at before anything is counted: who is refused by one counter is not charged on another.
_TAKE = """
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end
local function exact(number) return string.format('%.6f', number) end
local counters, refused = {}, false
for at, key in ipairs(KEYS) do
  local base = 4 * at - 2
  local amount, window, burst = tonumber(ARGV[base]), tonumber(ARGV[base + 1]), tonumber(ARGV[base + 2])
  local counter = {key = key, amount = amount, window = window, burst = burst, ttl = ARGV[base + 3], wait = 0}
  if burst then
    local line = redis.call('HMGET', key, 'level', 'at')
    local level, since = tonumber(line[1] or burst), tonumber(line[2] or now)
    if since > now then
      since = now
      redis.call('HSET', key, 'at', exact(now))
    end
    counter.level = math.min(burst, level + (now - since) * amount / window)
    if counter.level < 1 - 1e-9 then counter.wait = (1 - counter.level) * window / amount end
  else
    for place = -1, -redis.call('LLEN', key), -1 do
      if tonumber(redis.call('LINDEX', key, place)) <= now then break end
      redis.call('LSET', key, place, exact(now))
    end
    local oldest = redis.call('LINDEX', key, 0)
    while oldest and tonumber(oldest) <= now - window do
      redis.call('LPOP', key)
      oldest = redis.call('LINDEX', key, 0)
    end
    counter.count = redis.call('LLEN', key)
    if counter.count >= amount then
      counter.wait = math.max(tonumber(redis.call('LINDEX', key, counter.count - amount)) + window - now, 1e-6)
    end
  end
  refused = refused or counter.wait > 0
  counters[at] = counter
end

local answer = {}
for at, counter in ipairs(counters) do
  local left, reset
  if counter.burst then
    if not refused then
      counter.level = counter.level - 1
      redis.call('HSET', counter.key, 'level', string.format('%.17g', counter.level), 'at', exact(now))
      redis.call('PEXPIRE', counter.key, counter.ttl)
    end
    left = math.max(0, math.floor(counter.level + 1e-9))
    reset = (counter.burst - counter.level) * counter.window / counter.amount
  else
    if not refused then
      redis.call('RPUSH', counter.key, exact(now))
      redis.call('PEXPIRE', counter.key, counter.ttl)
      counter.count = counter.count + 1
    end
    left = math.max(0, counter.amount - counter.count)
    local newest = redis.call('LINDEX', counter.key, -1)
    reset = newest and tonumber(newest) + counter.window - now or 0
  end
  answer[at] = {left, exact(reset), exact(counter.wait)}
end
return answer
"""


class RedisLimits:
    """`LimitState` shared by all who use the same Redis, exact among them: a decision is one script there.

    While Redis does not answer each process allows its share of every rate; that is logged once, and only one caller at a
    time waits for Redis.

    Attributes:
        outages: Times Redis was found not to answer.
        alone: Decisions made without it.
    """

    def __init__(
        self,
        url: str,
        *,
        replicas: int = 1,
        timeout_s: float = 0.5,
        alone_s: float = 2.0,
        connections: int = 16,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """
        Args:
            url: Of the form redis://user:password@host:port/database, or rediss:// or unix://.
            replicas: How many processes count; each allows that part of a rate without Redis.
            timeout_s: The longest a caller waits for Redis, for a connection to it and for its answer together.
            alone_s: Seconds Redis is left alone once it did not answer.
            clock: Seconds since 1970; None for the clock of the Redis server, which is the same for all.

        Raises:
            Misconfigured: The URL is none.
        """
        # Without repeats: what is taken twice would count twice.
        client = redis_client(url, timeout_s=timeout_s, connections=connections, text=True)
        self._link = RedisLink(
            client,
            timeout_s=timeout_s,
            alone_s=alone_s,
            without="this process allows its share of rate limits",
            again="rate limits are counted together",
        )
        self.alone = 0
        self._replicas = replicas
        self._clock = clock
        self._take = client.register_script(_TAKE)
        self._own = MemoryLimits()  # outlasts an outage: a Redis that comes and goes must not give a share each time

    @property
    def outages(self) -> int:
        return self._link.outages

    async def take(self, group: str, wants: Sequence[Want]) -> Sequence[Room]:
        keys = [_key(group, want) for want in wants]
        said = await self._link.ask(partial(self._take, keys=keys, args=self._words(wants)))
        if said is None:
            self.alone += 1
            parts = [Want(want.name, want.rate.share(self._replicas)) for want in wants]
            return await self._own.take(group, parts)
        return [
            Room(limit=want.rate.limit, remaining=int(left), reset_s=float(reset_s), retry_after_s=float(wait_s))
            for want, (left, reset_s, wait_s) in zip(wants, said, strict=True)
        ]

    async def close(self) -> None:
        """Let go of the connections."""
        await self._link.close()

    def _words(self, wants: Sequence[Want]) -> list[str | int | float]:
        words: list[str | int | float] = ["" if self._clock is None else self._clock()]
        for want in wants:
            rate = want.rate
            full_s = rate.window_s * max(1.0, rate.limit / rate.amount)
            words += [rate.amount, rate.window_s, "" if rate.burst is None else rate.burst, math.ceil(full_s * 1000) + 1000]
        return words


def _key(group: str, want: Want) -> str:
    kind = "window" if want.rate.burst is None else "bucket"  # two kinds of value in Redis: a rule that changes begins anew
    return f"{PREFIX}{{{group}}}:{kind}:{want.name}"
