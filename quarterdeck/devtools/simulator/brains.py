"""Which brain answers for which model name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

from quarterdeck.devtools.simulator.base import Brain
from quarterdeck.devtools.simulator.extractive import Extractive
from quarterdeck.devtools.simulator.misbehaviour import MISBEHAVIOURS, Liar, Misbehaving
from quarterdeck.devtools.simulator.obedient import Obedient
from quarterdeck.devtools.simulator.scripts import Script, Scripted

__all__ = ["Brains"]


class Brains:
    """Chooses by the model's name: a misbehaving model by its own, then scripts, then brains that were given, then ours."""

    def __init__(self, *, scripts: Sequence[Script] = (), given: Mapping[str, Brain] | None = None) -> None:
        """Args: given: Brains by a pattern of the names they answer to."""
        extractive = Extractive()
        self._named: dict[str, Brain] = {name: Misbehaving(act) for name, act in MISBEHAVIOURS.items()}
        self._named |= {"extractive": extractive, "sim-obey": Obedient(extractive), "sim-lie": Liar(extractive)}
        self._scripts = [(() if "*" in script.models else script.models, self.scripted(script)) for script in scripts]
        self._given = dict(given or {})

    @property
    def names(self) -> tuple[str, ...]:
        """Models that are there under a name of their own."""
        return tuple(sorted(self._named))

    def scripted(self, script: Script) -> Scripted:
        """A brain that plays `script`."""
        return Scripted(script, self._own)

    def of(self, model: str, script: Brain | None = None) -> Brain:
        """The brain of a model.

        Args:
            script: One the trace has been given; comes before all but the misbehaving models.
        """
        named = self._named.get(model)
        if named is not None and model != "extractive":
            return named
        if script is not None:
            return script
        for patterns, brain in self._scripts:
            if not patterns or any(fnmatchcase(model, pattern) for pattern in patterns):
                return brain
        for pattern, given in self._given.items():
            if fnmatchcase(model, pattern):
                return given
        return self._own(model)

    def _own(self, model: str) -> Brain:
        return self._named.get(model) or self._named["extractive"]
