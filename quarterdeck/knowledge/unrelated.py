"""How near texts are that have nothing to do with each other: what a cosine has to be measured against.

Every embedder has cosines of its own. With one, unrelated texts stand at 0.0; with another at 0.7, which with the first
would be near the truth. A fixed threshold therefore fits one embedder. What unrelated texts give is the same kind of fact
for all of them, takes one call to find out, and depends on no document, so it tells a reader nothing about those closed
to him.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, pstdev

from quarterdeck.core.text import has_cjk
from quarterdeck.knowledge.base import Vector

__all__ = ["Unrelated", "probes"]

# Invented, each from another walk of life, question and statement by turns.
_ENGLISH = (
    "How do bees turn nectar into honey?",
    "The violin has four strings, tuned in fifths.",
    "When does the museum close on Sundays?",
    "Knead the dough for ten minutes and let it rise until it has doubled.",
    "Which invoices are still unpaid?",
    "Saturn's rings consist mostly of ice.",
    "Where can I park my bicycle?",
    "The court dismissed the appeal for lack of evidence.",
    "What is a good exercise for a stiff back?",
    "Rivers carry sand and gravel down to the sea.",
    "Who invented the printing press?",
    "The login page rejects passwords shorter than twelve characters.",
    "How often should tomatoes be watered?",
    "The goalkeeper stopped two penalties in the final.",
    "Why is the train to the airport late?",
    "Vaccinated children rarely fall ill with measles.",
)
_CHINESE = (
    "蜜蜂是怎么酿蜂蜜的？",
    "小提琴有四根弦，按五度定音。",
    "博物馆周日几点关门？",
    "面团揉十分钟，发酵到两倍大。",
    "哪些发票还没有付款？",
    "土星环主要由冰组成。",
    "自行车可以停在哪里？",
    "法院以证据不足为由驳回上诉。",
    "腰背僵硬适合做什么运动？",
    "河流把泥沙带入大海。",
    "活字印刷术是谁发明的？",
    "登录页面不接受少于十二位的密码。",
    "西红柿多久浇一次水？",
    "守门员在决赛中扑出两个点球。",
    "开往机场的列车为什么晚点？",
    "接种疫苗的儿童很少得麻疹。",
)


def probes(question: str) -> tuple[str, ...]:
    """Texts about different things, in the script of `question`."""
    return _CHINESE if has_cjk(question) else _ENGLISH


@dataclass(frozen=True, slots=True, kw_only=True)
class Unrelated:
    """The cosines of unrelated texts with one embedder.

    Attributes:
        mean, spread: Mean and standard deviation.
    """

    mean: float
    spread: float

    @classmethod
    def among(cls, vectors: Sequence[Vector]) -> Unrelated:
        """From vectors of texts that have nothing to do with each other, at least two."""
        cosines = [_cosine(one, other) for one, other in combinations(vectors, 2)]
        return cls(mean=fmean(cosines), spread=pstdev(cosines))

    def apart(self, cosine: float) -> float:
        """By how many standard deviations `cosine` is more than what unrelated texts have."""
        return (cosine - self.mean) / max(self.spread, 1e-6)


def _cosine(one: Vector, other: Vector) -> float:
    lengths = math.sqrt(math.fsum(x * x for x in one) * math.fsum(x * x for x in other))
    return math.fsum(x * y for x, y in zip(one, other, strict=True)) / lengths if lengths else 0.0
