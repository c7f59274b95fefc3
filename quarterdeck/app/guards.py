"""The guards of each agent, as configuration says."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from quarterdeck.core.errors import Misconfigured
from quarterdeck.core.masking import Mask
from quarterdeck.core.personal import KINDS
from quarterdeck.policy.guards.base import Guard, Layer, Ruling
from quarterdeck.policy.guards.chain import Chain, Link
from quarterdeck.policy.guards.injection import Injection
from quarterdeck.policy.guards.layers import ArgumentRule, Guards, GuardsOf
from quarterdeck.policy.guards.links import Links
from quarterdeck.policy.guards.markers import Markers
from quarterdeck.policy.guards.patterns import Pattern
from quarterdeck.policy.guards.phrases import abuse
from quarterdeck.policy.guards.sensitive import Personal, Secrets
from quarterdeck.settings.guards import GuardSettings

__all__ = ["guards_of"]

_LAYERS: tuple[Layer, ...] = ("input", "retrieval", "tool", "output")
_OF_PASSAGES = ("allow", "flag", "lower", "leave_out")  # mildest first
_Rulings = Mapping[str, str]


def guards_of(
    settings: GuardSettings,
    secrets: Iterable[str],
    agents: Iterable[str],
    classifiers: Mapping[str, Guard] | None = None,
) -> GuardsOf:
    """Gives the guards of an agent by its name.

    Args:
        secrets: Known ones, which no answer may say.
        agents: Those there are.
        classifiers: By name, who is asked about texts.

    Raises:
        Misconfigured: An agent's part names an agent or a guard there is not, or a milder ruling; one line for each. Or
            two guards have one name.
    """
    parts = _Parts(settings, tuple(secrets), classifiers or {})
    problems: list[str] = []
    said = settings.agents
    known = list(agents)
    problems += [f"guards.agents.{name}: there is no such agent" for name in said if name not in known]
    general = parts.rulings()
    own = {name: parts.guards(_tightened(general, said[name], f"guards.agents.{name}", problems)) for name in said}
    if problems:
        raise Misconfigured("\n".join(problems))
    default = parts.guards(general)
    return lambda agent: own.get(agent, default)


class _Parts:
    """Guards, made once for all agents."""

    def __init__(self, settings: GuardSettings, secrets: tuple[str, ...], classifiers: Mapping[str, Guard]) -> None:
        self._settings = settings
        guards: list[Guard] = [
            Markers(),
            Injection(),
            abuse(settings.abuse_phrases),
            Secrets(mask=Mask(secrets)),
            Links(allow=settings.allow_links),
            *(Personal(name=kind) for kind in KINDS),
            *(Pattern(one.id, one.pattern) for one in settings.patterns),
            *classifiers.values(),
        ]
        self._classifiers = frozenset(classifiers)
        self._guards = {guard.name: guard for guard in guards}
        if taken := sorted(self._classifiers & {guard.name for guard in guards[: -len(classifiers) or None]}):
            raise Misconfigured(f"guards.classifiers: there is a guard named {', '.join(taken)} already")
        # A known secret may have spaces, which end other findings.
        self._spaced = max((len(secret) for secret in secrets if any(map(str.isspace, secret))), default=0)
        self._arguments = tuple(
            ArgumentRule(
                link=Link(guard=Pattern(one.id, one.pattern), ruling=one.ruling), tools=one.tools, argument=one.argument
            )
            for one in settings.arguments
        )

    def rulings(self) -> dict[Layer, dict[str, str]]:
        """What the section says, by layer and guard."""
        said: dict[Layer, dict[str, str]] = {
            layer: {name: str(value) for name, value in getattr(self._settings, layer)} for layer in _LAYERS
        }
        for pattern in self._settings.patterns:
            for layer in pattern.layers:
                said[layer][pattern.id] = str(pattern.ruling)
        for classifier in self._settings.classifiers:
            for layer in classifier.layers:
                said[layer][classifier.id] = str(classifier.ruling)
        return said

    def guards(self, rulings: Mapping[Layer, _Rulings]) -> Guards:
        on_passages = rulings["retrieval"]["injection"]
        output = self._chain(rulings["output"], Ruling)
        patterned = any("output" in one.layers for one in self._settings.patterns)
        return Guards(
            input=self._chain(rulings["input"], Ruling),
            retrieval=self._chain(rulings["retrieval"], _of_passage),
            lower=on_passages == "lower",
            tool=self._chain(rulings["tool"], Ruling),
            arguments=self._arguments,
            output=output,
            whole=any(link.guard.name in self._classifiers for link in output.links),
            reach=max(self._settings.window if patterned else 0, self._spaced),
        )

    def _chain(self, rulings: _Rulings, read: Callable[[str], Ruling]) -> Chain:
        return Chain(Link(guard=self._guards[name], ruling=read(ruling)) for name, ruling in rulings.items())


def _of_passage(ruling: str) -> Ruling:
    return {"lower": Ruling.FLAG, "leave_out": Ruling.BLOCK}.get(ruling) or Ruling(ruling)


def _tightened(
    general: Mapping[Layer, _Rulings], said: Mapping[Layer, _Rulings], place: str, problems: list[str]
) -> dict[Layer, dict[str, str]]:
    """The rulings of one agent; what is wrong with what is said of it goes to `problems`."""
    tightened = {layer: dict(rulings) for layer, rulings in general.items()}
    for layer, rulings in said.items():
        for name, ruling in rulings.items():
            passages = layer == "retrieval" and name == "injection"
            order = list(_OF_PASSAGES if passages else map(str, Ruling))
            if layer == "retrieval" and name != "special_tokens":
                order = [one for one in order if one != "redact"]
            if name not in general[layer]:
                problems.append(f"{place}.{layer}: there is no guard {name!r}; there are {', '.join(general[layer])}")
            elif ruling not in order:
                problems.append(f"{place}.{layer}.{name}: {ruling!r} is none of {', '.join(order)}")
            elif order.index(ruling) < order.index(general[layer][name]):
                problems.append(f"{place}.{layer}.{name}: milder than {general[layer][name]}, as for all")
            else:
                tightened[layer][name] = ruling
    return tightened
