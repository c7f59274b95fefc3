"""Circuits that replicas share, in Redis; in this process alone while Redis does not answer."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import anyio

from quarterdeck.core.errors import Misconfigured
from quarterdeck.core.ids import new_id
from quarterdeck.store.breaker import Admission, BreakerRule, Circuit, MemoryBreaker, Outcome

try:
    from redis.asyncio import BlockingConnectionPool, Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import RedisError
except ImportError as error:
    raise ImportError("install quarterdeck[redis]") from error

__all__ = ["PREFIX", "RedisBreaker"]

log = logging.getLogger(__name__)

PREFIX = "qd:breaker:"

_SHARED = "redis:"  # begins the tokens of admissions that are known to Redis
_LINK = "redis"
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
local wait_s = math.max(tonumber(line[2]), tonumber(line[3] or '0')) - now
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
        try:
            pool = BlockingConnectionPool.from_url(
                url,
                max_connections=connections,
                timeout=timeout_s,
                socket_connect_timeout=timeout_s,
                socket_timeout=timeout_s,
                decode_responses=True,
                retry=Retry(NoBackoff(), 0),  # a report that is said twice would count twice
            )
        except ValueError:
            raise Misconfigured("the URL of Redis is not of the form redis://user:password@host:port/database") from None
        self.outages = 0
        self.alone = 0
        self._rule = rule or BreakerRule()
        self._timeout_s = timeout_s
        self._clock = clock
        self._client = Redis.from_pool(pool)
        self._admit = self._client.register_script(_ADMIT)
        self._report = self._client.register_script(_REPORT)
        self._own = MemoryBreaker(self._rule)
        self._away = False
        # Redis is itself something that may fail: the first failure opens its circuit, and one caller tries it again.
        self._link = MemoryBreaker(BreakerRule(share=1e-9, minimum=1, window_s=1.0, open_s=alone_s, probe_s=2 * timeout_s))
        self._owed: deque[_Owed] = deque(maxlen=_MOST_OWED)

    async def admit(self, name: str) -> Admission:
        link = await self._link.admit(_LINK)
        if link.circuit is not Circuit.OPEN:
            token = new_id()
            arguments = (self._now(), token, self._rule.open_s, self._rule.probe_s, self._ttl_ms())
            # Without an answer nobody knows whether this took the probe.
            owed = _Owed(name=name, token=token, outcome=Outcome.VOID)
            found = await self._run(link, self._admit, name, arguments, owed)
            if found is not None:
                circuit, known, retry_after_s = found
                return Admission(circuit=Circuit(circuit), token=_SHARED + known, retry_after_s=float(retry_after_s))
        self.alone += 1
        return await self._own.admit(name)

    async def report(self, name: str, admission: Admission, outcome: Outcome) -> None:
        if not admission.token.startswith(_SHARED):
            await self._own.report(name, admission, outcome)
            return
        token = admission.token.removeprefix(_SHARED)
        probe = admission.circuit is Circuit.PROBE
        owed = _Owed(name=name, token=token, outcome=outcome) if probe else None
        link = await self._link.admit(_LINK)
        if link.circuit is Circuit.OPEN:
            self._owe(owed)
            said = None
        else:
            arguments = self._words(token, admission.circuit, outcome)
            said = await self._run(link, self._report, name, arguments, owed)
        if said is None and not probe:
            # What was admitted when Redis was there tells as much about the other side as what is admitted now.
            await self._own.report(name, await self._own.admit(name), outcome)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._client.aclose()

    async def _run(
        self, link: Admission, script: Any, name: str, arguments: tuple[str | int | float, ...], owed: _Owed | None
    ) -> Any | None:
        """What the script returns; None if Redis does not answer, and then `owed` is told it later."""
        outcome = Outcome.VOID
        try:
            with anyio.fail_after(self._timeout_s):
                await self._settle()
                answer = await script(keys=[PREFIX + name], args=arguments)
            outcome = Outcome.SUCCEEDED
        except (RedisError, OSError) as error:
            outcome = Outcome.FAILED
            self._leave(error)
            return None
        finally:
            if outcome is not Outcome.SUCCEEDED:
                self._owe(owed)
            await self._link.report(_LINK, link, outcome)
        self._come_back()
        return answer

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

    def _owe(self, owed: _Owed | None) -> None:
        if owed is not None:
            self._owed.append(owed)

    def _leave(self, error: Exception) -> None:
        if not self._away:
            self._away = True
            self.outages += 1
            log.warning("Redis does not answer (%s): until it does, circuits are of this process", type(error).__name__)

    def _come_back(self) -> None:
        if self._away:
            self._away = False
            self._own = MemoryBreaker(self._rule)
            log.warning("Redis answers again: circuits are shared")

    def _words(self, token: str, circuit: Circuit, outcome: Outcome) -> tuple[str | int | float, ...]:
        rule = self._rule
        how = (rule.share, rule.minimum, rule.window_s / _BUCKETS, _BUCKETS)
        return (self._now(), new_id(), rule.open_s, self._ttl_ms(), token, circuit.value, outcome.value, *how)

    def _now(self) -> float | str:
        return "" if self._clock is None else self._clock()

    def _ttl_ms(self) -> int:
        """Milliseconds after which nothing of a circuit matters: no call lasts longer than a probe may."""
        return math.ceil((self._rule.window_s + self._rule.open_s + self._rule.probe_s) * 1000)
