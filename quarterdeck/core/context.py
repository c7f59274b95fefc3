"""Who asks, and within which time and trace."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from quarterdeck.core.errors import DeadlineExceeded

__all__ = ["Context", "Principal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Who asks. The tenant always comes from the verified credential, never from a body, a header or a model.

    Attributes:
        user: Id of the person or service.
        scopes: Rights, such as ``tickets.write``.
        credential: What let him in, such as ``key:ID``, where it can be taken back from him; then what came of it ends too.
    """

    user: str
    tenant: str
    roles: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    credential: str | None = None

    @property
    def names(self) -> frozenset[str]:
        """Every name this principal goes by in ``Readers``: own, groups, tenant."""
        return frozenset({f"user:{self.user}", f"tenant:{self.tenant}", *(f"group:{group}" for group in self.groups)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The surroundings of one call into a model or a tool.

    Attributes:
        deadline: Monotonic seconds (``time.monotonic``) after which nobody waits for the result.
        agent: Name of the agent that acts, empty outside of a run.
        tags: Traffic tags from the allow-list (experiment, shadow, tenant tier); see `core.propagation`.
        request_id: Of the request that wanted it.
    """

    principal: Principal
    run_id: str
    deadline: float
    agent: str = ""
    trace_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    request_id: str | None = None

    def remaining_s(self) -> float:
        """Seconds until the deadline.

        Raises:
            DeadlineExceeded: Nothing is left.
        """
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded(f"run {self.run_id} has used up its time")
        return left
