"""Circuits that replicas share, in Redis; in this process alone while Redis does not answer."""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from quarterdeck.core.ids import new_id
from quarterdeck.store.breaker import Admission, BreakerRule, Circuit, MemoryBreaker, Outcome
from quarterdeck.store.redis_link import RedisLink, redis_client

__all__ = ["PREFIX", "RedisBreaker"]

PREFIX = "qd:breaker:"

_SHARED = "redis:"  # begins the tokens of admissions that are known to Redis
_BUCKETS = 20  # a window is counted in so many, so that a circuit takes the same few bytes at any traffic
_MOST_OWED = 256

# A circuit is one hash, so that it can lie on any node of a cluster:
#   token         of the present closed time or of the probe; none before it ever opened
#   opened_until  seconds since 1970; none while it is closed
#   probe_until   seconds since 1970; none without a probe
#   n<i>, f<i>    calls and failures in the i-th bucket since 1970
# ARGV[1] is the time, empty for the server's: replicas' clocks differ, and a window is shorter than they may.
_NOW = """
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end
local function instant(seconds) return string.format('%.6f', seconds) end
"""
_ADMIT = (
    _NOW
    + """
local fresh, open_s, probe_s, ttl_ms = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local line = redis.call('HMGET', KEYS[1], 'token', 'opened_until', 'probe_until')
if not line[2] then return {'closed', line[1] or '', '0'} end
-- What lies further ahead than it was ever set to was written before the clock was set back.
local function within(field, at, most_s)
  if at <= now + most_s then return at end
  redis.call('HSET', KEYS[1], field, instant(now + most_s))
  return now + most_s
end
local opened_until = within('opened_until', tonumber(line[2]), open_s)
local probe_until = within('probe_until', tonumber(line[3] or '0'), probe_s)
local wait_s = math.max(opened_until, probe_until) - now
if wait_s > 0 then return {'open', '', instant(math.min(wait_s, open_s))} end
redis.call('HSET', KEYS[1], 'token', fresh, 'probe_until', instant(now + probe_s))
redis.call('PEXPIRE', KEYS[1], ttl_ms)
return {'probe', fresh, '0'}
"""
)
_REPORT = (
    _NOW
    + """
local fresh, open_s, ttl_ms = ARGV[2], tonumber(ARGV[3]), ARGV[4]
local token, circuit, outcome = ARGV[5], ARGV[6], ARGV[7]
local share, minimum, bucket_s, buckets = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11])
if (redis.call('HGET', KEYS[1], 'token') or '') ~= token then return 0 end

local function open()
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'token', fresh, 'opened_until', instant(now + open_s))
end

local function count()
  local latest = math.floor(now / bucket_s)
  redis.call('HINCRBY', KEYS[1], string.format('n%.0f', latest), 1)
  if outcome == 'failed' then redis.call('HINCRBY', KEYS[1], string.format('f%.0f', latest), 1) end
  local sums, fields = {n = 0, f = 0}, redis.call('HGETALL', KEYS[1])
  for at = 1, #fields, 2 do
    local kind, bucket = string.match(fields[at], '^([nf])(%d+)$')
    if kind and (tonumber(bucket) <= latest - buckets or tonumber(bucket) > latest) then
      redis.call('HDEL', KEYS[1], fields[at])
    elseif kind then
      sums[kind] = sums[kind] + tonumber(fields[at + 1])
    end
  end
  if sums.n >= minimum and sums.f >= share * sums.n then open() end
end

if circuit == 'closed' then
  if outcome == 'void' then return 0 end
  count()
elseif outcome == 'succeeded' then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], 'token', fresh)
elseif outcome == 'failed' then
  open()
else
  redis.call('HDEL', KEYS[1], 'probe_until')
  redis.call('HSET', KEYS[1], 'token', fresh)
end
redis.call('PEXPIRE', KEYS[1], ttl_ms)
return 1
"""
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Owed:
    """A word about a probe that Redis has yet to hear."""

    name: str
    token: str
    outcome: Outcome


class RedisBreaker:
    """`BreakerState` shared by all who use the same Redis: what one finds out holds for all, and one of them probes.

    A call that ended is looked back on for the window, or up to a twentieth less. While Redis does not answer, circuits are
    of this process and begin closed; that is logged once, and only one caller at a time waits for Redis.

    Attributes:
        outages: Times Redis was found not to answer.
        alone: Callers admitted or turned away without it.
    """

    def __init__(
        self,
        url: str,
        rule: BreakerRule | None = None,
        *,
        timeout_s: float = 0.5,
        alone_s: float = 2.0,
        connections: int = 16,
        clock: Callable[[], float] | None = None,
    ) -> None:
        """
        Args:
            url: Of the form redis://user:password@host:port/database, or rediss:// or unix://.
            timeout_s: The longest a caller waits for Redis, for a connection to it and for its answer together.
            alone_s: Seconds Redis is left alone once it did not answer.
            clock: Seconds since 1970; None for the clock of the Redis server, which is the same for all.

        Raises:
            Misconfigured: The URL is none.
        """
        # Without repeats: a report that is said twice would count twice.
        client = redis_client(url, timeout_s=timeout_s, connections=connections, text=True)
        self._link = RedisLink(
            client,
            timeout_s=timeout_s,
            alone_s=alone_s,
            without="circuits are of this process",
            again="circuits are shared",
            back=self._begin_anew,
        )
        self.alone = 0
        self._rule = rule or BreakerRule()
        self._clock = clock
        self._admit = client.register_script(_ADMIT)
        self._report = client.register_script(_REPORT)
        self._own = MemoryBreaker(self._rule)
        self._owed: deque[_Owed] = deque(maxlen=_MOST_OWED)

    @property
    def outages(self) -> int:
        return self._link.outages

    async def admit(self, name: str) -> Admission:
        token = new_id()
        arguments = (self._now(), token, self._rule.open_s, self._rule.probe_s, self._ttl_ms())

        async def work() -> Any:
            # Without an answer nobody knows whether this took the probe.
            with self._owing(_Owed(name=name, token=token, outcome=Outcome.VOID)):
                await self._settle()
                return await self._admit(keys=[PREFIX + name], args=arguments)

        found = await self._link.ask(work)
        if found is None:
            self.alone += 1
            return await self._own.admit(name)
        circuit, known, retry_after_s = found
        return Admission(circuit=Circuit(circuit), token=_SHARED + known, retry_after_s=float(retry_after_s))

    async def report(self, name: str, admission: Admission, outcome: Outcome) -> None:
        if not admission.token.startswith(_SHARED):
            await self._own.report(name, admission, outcome)
            return
        token = admission.token.removeprefix(_SHARED)

        if admission.circuit is Circuit.PROBE:
            self._owed.append(_Owed(name=name, token=token, outcome=outcome))
            await self._link.ask(self._settle)
            return

        async def work() -> Any:
            await self._settle()
            return await self._report(keys=[PREFIX + name], args=self._words(token, admission.circuit, outcome))

        if await self._link.ask(work) is None:
            # What was admitted when Redis was there tells as much about the other side as what is admitted now.
            await self._own.report(name, await self._own.admit(name), outcome)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._link.close()

    async def _settle(self) -> None:
        """Tell Redis what it missed, or nobody could probe until the lost probes are given up."""
        while self._owed:
            owed = self._owed.popleft()
            said = False
            try:
                arguments = self._words(owed.token, Circuit.PROBE, owed.outcome)
                await self._report(keys=[PREFIX + owed.name], args=arguments)
                said = True
            finally:
                if not said:
                    self._owed.appendleft(owed)

    @contextlib.contextmanager
    def _owing(self, owed: _Owed) -> Iterator[None]:
        """Owe Redis a word unless the block gets to its end."""
        try:
            yield
        except BaseException:  # of a caller who leaves, too
            self._owed.append(owed)
            raise

    def _begin_anew(self) -> None:
        self._own = MemoryBreaker(self._rule)

    def _words(self, token: str, circuit: Circuit, outcome: Outcome) -> tuple[str | int | float, ...]:
        rule = self._rule
        how = (rule.share, rule.minimum, rule.window_s / _BUCKETS, _BUCKETS)
        return (self._now(), new_id(), rule.open_s, self._ttl_ms(), token, circuit.value, outcome.value, *how)

    def _now(self) -> float | str:
        return "" if self._clock is None else self._clock()

    def _ttl_ms(self) -> int:
        """Milliseconds after which nothing of a circuit matters: no call lasts longer than a probe may."""
        return math.ceil((self._rule.window_s + self._rule.open_s + self._rule.probe_s) * 1000)
