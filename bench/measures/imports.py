"""What `import quarterdeck` costs: CPU above a bare interpreter, and resident memory."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

from bench.measure import Measure, absolute

REPETITIONS = 7
CPU_BUDGET_S = 0.25
RSS_BUDGET_MB = 40.0
# The high-water mark of this very program image; ru_maxrss would include what the parent was before the exec.
PRINT_RSS = "print(next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')))"
STATEMENTS = {
    "bare": "pass",
    "import quarterdeck": "import quarterdeck",
    "from quarterdeck import Agent, tool": "from quarterdeck import Agent, tool",
}


async def measure() -> list[Measure]:
    cpu_s: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    rss_mb: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    for repetition in range(REPETITIONS + 1):
        for name, statement in STATEMENTS.items():
            taken_s, resident_mb = _fresh(statement)
            if repetition:  # the first one may compile to bytecode
                cpu_s[name].append(taken_s)
                rss_mb[name].append(resident_mb)
    bare_s = statistics.median(cpu_s.pop("bare"))
    measures = []
    for name, taken in cpu_s.items():
        cost_s = statistics.median(taken) - bare_s
        measures.append(
            absolute(name, cost_s, "s CPU", budget=CPU_BUDGET_S, note=f"above a bare interpreter ({bare_s:.3f} s)")
        )
        measures.append(absolute(f"{name}: memory", statistics.median(rss_mb[name]), "MB RSS", budget=RSS_BUDGET_MB))
    return measures


def _fresh(statement: str) -> tuple[float, float]:
    """CPU seconds and peak megabytes of a new interpreter that executes a statement."""
    process = subprocess.Popen([sys.executable, "-c", f"{statement}\n{PRINT_RSS}"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    kilobytes = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    if process.returncode:
        raise RuntimeError(f"{statement!r} failed with {process.returncode}")
    return usage.ru_utime + usage.ru_stime, int(kilobytes) / 1024
