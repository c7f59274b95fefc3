"""A simulated provider of language models: OpenAI's and Anthropic's APIs, deterministic, scripted, faulty on demand."""

from quarterdeck.devtools.simulator.app import Options, SimulatorApp
from quarterdeck.devtools.simulator.base import Ask, Brain, Call, Reply, Turn, UsageOverride
from quarterdeck.devtools.simulator.clock import RealClock, VirtualClock
from quarterdeck.devtools.simulator.faults import Fault
from quarterdeck.devtools.simulator.journal import Entry, Expected
from quarterdeck.devtools.simulator.limits import RateLimit
from quarterdeck.devtools.simulator.script_files import load_script, read_script
from quarterdeck.devtools.simulator.scripts import Condition, Script, Step, Wanted
from quarterdeck.devtools.simulator.server import Simulator
from quarterdeck.devtools.simulator.timing import Timing
from quarterdeck.devtools.simulator.traced import Traced

__all__ = [
    "Ask",
    "Brain",
    "Call",
    "Condition",
    "Entry",
    "Expected",
    "Fault",
    "Options",
    "RateLimit",
    "RealClock",
    "Reply",
    "Script",
    "Simulator",
    "SimulatorApp",
    "Step",
    "Timing",
    "Traced",
    "Turn",
    "UsageOverride",
    "VirtualClock",
    "Wanted",
    "load_script",
    "read_script",
]
