"""The error of the token estimate on English, Chinese, code and JSON, against a real vocabulary.

The texts are the repository's own, cut into windows as they were for the fit: the pages in English, the knowledge of the
example in Chinese, the package's code, and journals and prices in JSON. Without the vocabulary, which is a
development dependency, nothing is measured here.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.measure import Measure, absolute, relative
from quarterdeck.models.tokens import count_tokens

try:
    from bpe_openai import get_encoding
except ImportError:  # a platform without a wheel of it
    get_encoding = None

ROOT = Path(__file__).parents[2]
VOCABULARY = "o200k_base"
WINDOW = 2000  # characters
LEAST = 500  # of a last window; shorter ones tell little
PERCENTILE = 95

Count = Callable[[str], int]


async def measure() -> list[Measure]:
    if get_encoding is None:
        print("tokens: bpe-openai is not installed, so the estimate is not measured", file=sys.stderr)
        return []
    encoding = get_encoding(VOCABULARY)

    def real(text: str) -> int:
        return len(encoding.encode_ordinary(text))

    kinds = {"English": english(), "Chinese": chinese(), "code": code(), "JSON": json_texts()}
    windows = {kind: [window for text in texts for window in cut(text)] for kind, texts in kinds.items()}
    every = [window for found in windows.values() for window in found]
    return [
        *(_error(kind, found, real) for kind, found in windows.items()),
        relative(
            "tokens: CPU of an estimate", _cpu_us(count_tokens, every), "µs", reference=_cpu_us(real, every),
            note=f"per {WINDOW:,} characters; reference: {VOCABULARY} itself, encoded by a library in Rust",
        ),
    ]  # fmt: skip


def english() -> Iterator[str]:
    pages = (page for page in sorted((ROOT / "docs").rglob("*.md")) if page.name != "ten-prompts.md")
    knowledge = (page for page in _knowledge() if not page.stem.endswith("-zh"))
    return (page.read_text(encoding="utf-8") for page in (*pages, *knowledge))


def chinese() -> Iterator[str]:
    return (page.read_text(encoding="utf-8") for page in _knowledge() if page.stem.endswith("-zh"))


def code() -> Iterator[str]:
    return (file.read_text(encoding="utf-8") for file in sorted((ROOT / "quarterdeck").rglob("*.py")))


def json_texts() -> Iterator[str]:
    files = (*(ROOT / "tests").rglob("golden/*.jsonl"), *(ROOT / "quarterdeck").rglob("*.json"))
    return (file.read_text(encoding="utf-8") for file in sorted(files))


def _knowledge() -> list[Path]:
    return sorted((ROOT / "examples" / "support_desk" / "knowledge").glob("*.md"))


def cut(text: str) -> Iterator[str]:
    """Windows of `WINDOW` characters; the last is shorter, and left out below `LEAST`."""
    windows = (text[start : start + WINDOW] for start in range(0, len(text), WINDOW))
    return (window for window in windows if len(window) >= LEAST)


def _error(kind: str, windows: list[str], real: Count) -> Measure:
    """The mean error of the windows, above 0 where the estimate is too high."""
    errors = sorted((count_tokens(window) / real(window) - 1) * 100 for window in windows)
    within = sorted(map(abs, errors))[max(0, round(len(errors) * PERCENTILE / 100) - 1)]
    spread = f"within {within:.1f} %, all {errors[0]:+.1f} to {errors[-1]:+.1f} %"
    note = f"{VOCABULARY}; {PERCENTILE} % of {len(errors)} windows {spread}"
    return absolute(f"tokens: mean error of the estimate, {kind}", statistics.fmean(errors), "%", note=note)


def _cpu_us(count: Count, texts: list[str]) -> float:
    """CPU microseconds per window of `WINDOW` characters."""
    begun = time.process_time()
    for text in texts:
        count(text)
    return (time.process_time() - begun) * 1e6 * WINDOW / sum(map(len, texts))
