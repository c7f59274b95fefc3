"""Completes a question that leans on the ones before it, so that it can be searched for: "and for contractors?".

What comes out is looked for and nothing else: nobody is shown it as an answer, and no right depends on it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from quarterdeck.core.context import Context
from quarterdeck.core.messages import Message, Role
from quarterdeck.core.text import has_cjk, without_measures
from quarterdeck.core.usage import Usage
from quarterdeck.knowledge.analyze import searched, topic_words

__all__ = ["CarriedTerms", "Rewriter", "Rewritten", "completed", "leans"]

_MAX_CARRIED = 12  # words
_READ_BACK = 6  # earlier questions; what was asked before those is another matter

# English. What goes on from something said: it is taken off, and the rest is looked at.
_GOES_ON = re.compile(
    r"^\W*(?:(?:and|or|but|also|so|then|ok(?:ay)?|well|thanks|thank you|what about|how about|same for|the same for|"
    r"in that case)\b[\s,]*)+",
    re.IGNORECASE,
)
_SUPPOSES = re.compile(r"^\W*what if\b", re.IGNORECASE)
_POINTS_BACK = re.compile(
    r"\b(?:it|its|they|them|their|theirs|those|these|this|that|ones?|either|neither|both|instead|otherwise)\b", re.IGNORECASE
)
_STANDS_FOR_NOTHING = re.compile(  # "is it allowed to ...", "does it take long to ...", "the fact that the ..."
    r"\bit (?:is |was )?(?:takes?|possible|allowed|ok|okay|true|necessary|required|permitted|mandatory|enough|normal)\b"
    r"|\bit'?s (?:possible|allowed|ok|okay|true|necessary|required)\b|\b(?:at|in) this (?:company|office|building|firm)\b"
    r"|\bthis (?:year|month|week|summer|winter)\b|\b\w+ that (?:the|a|an|is|are|was|my|our|i|we|does|do|has)\b",
    re.IGNORECASE,
)
_ASKS = re.compile(
    r"\b(?:how|who|whom|what|when|where|why|which|whose|do|does|did|is|are|am|was|were|can|could|may|must|should|shall|"
    r"will|would|has|have|had)\b",
    re.IGNORECASE,
)
_NARROWS = re.compile(
    r"\b(?:for|in|at|from|with|to|as|on|during|after|before|if|when)\s+(?:[\w'-]+\s+){0,3}[\w'-]+\W*$", re.IGNORECASE
)
_ACTS = frozenset(  # what can be asked of anything, and so names nothing
    "apply applies applied application approve approves approved approval allow allowed allows ask cancel change changed "
    "contact cost costs count decide decides depend differ different do done end ends exception exceptions expire expires "
    "extend happen happens happened inform limit limits matter mean means notice notify pay pays paid permitted possible "
    "request requests required responsible rule rules send sign signs start starts begin begins submit valid work works "
    "case cases deadline details example examples price process reason reasons time times day days week weeks month "
    "months year years hour hours long longer often more less exactly really still always else there right wrong sure "
    "renew repeat return stop wait late later soon early form forms form's person people situation thing things "
    "per".split()
)

# Chinese.
_GOES_ON_CJK = re.compile(
    r"^\W*(?:那么|那|还有|另外|如果是|如果|要是|换成|换做|至于|对于|而且|然后|好的|谢谢|嗯|哦|，|,|\s)+"
)
_POINTS_BACK_CJK = re.compile(r"它们?|他们|她们|这个|那个|这些|那些|这种|那种|这样|那样|此类|前者|后者|上述")
_SPEAKS_OF_IT_CJK = re.compile(r"^(?:它们?|这个?|那个?)(?:适用|需要|可以|可不可以|必须|会|能|是|有|要|怎么|多少|什么|在)")
_STANDS_FOR_NOTHING_CJK = re.compile(r"这个?(?:月|年|周|季度|星期)")
_ASKS_CJK = re.compile(
    r"什么|怎么|怎样|如何|多少|多久|多长|几|谁|哪|吗|是否|能否|能不能|可不可以|有没有|是不是|为何|要不要|需不需要"
)
_ACTS_CJK = re.compile(
    "(?:申请|批准|审批|办理|提交|联系|处理|审核|取消|修改|更改|到期|过期|开始|结束|生效|例外|允许|必须|期限|费用|收费|价格|流程|手续|原因|"
    "具体|一般|通常|提前|最多|最少|至少|超过|发放|支付|付款|通知|负责|算|用|做|去|来|找|问|写|填|交|付|有|要|会|能|行|不|没|再|又|"
    "结转|延长|补办|转让|截止|到|天|年|月|周|日|小时|分钟|次|个|钱|多|少|长|久|时间|人|情况|规定|限制|条件|材料|表格|区别|不同)+"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """What to search for.

    Attributes:
        query: The question itself where it stands alone.
        by: ``terms`` or ``model``, empty where nothing was changed.
        usage: What it took.
    """

    query: str
    by: str = ""
    usage: Usage = field(default_factory=Usage)


class Rewriter(Protocol):
    """Makes a question searchable that was asked in a conversation."""

    async def rewrite(self, question: str, earlier: Sequence[Message], ctx: Context) -> Rewritten:
        """What to search for. Fails only with DeadlineExceeded: the caller's time is over.

        Args:
            earlier: What was said before, oldest first.
        """
        ...


class CarriedTerms:
    """Completes a question that names nothing of its own with the topic of the last one that did. Pure, and asks nobody."""

    async def rewrite(self, question: str, earlier: Sequence[Message], ctx: Context) -> Rewritten:
        asked = [message.text for message in earlier if message.role is Role.USER]
        query = completed(question, asked)
        return Rewritten(query=query, by="terms" if query != question else "")


def completed(question: str, earlier: Sequence[str]) -> str:
    """`question` behind the topic of the last of `earlier` that stands alone; itself if it does so, or nothing was asked."""
    if not leans(question):
        return question
    carried: list[str] = []
    for before in reversed(earlier[-_READ_BACK:]):
        before = searched(before)
        carried = [*_topic(before), *carried]
        if not leans(before):
            break
    own = question.lower()
    words = [word for word in dict.fromkeys(carried) if word.lower() not in own]
    return " ".join((*words[:_MAX_CARRIED], question)) if words else question


def leans(question: str) -> bool:
    """Whether it can be understood only by who heard what was asked before."""
    return _leans_cjk(question) if has_cjk(question) else _leans(question)


def _leans(question: str) -> bool:
    rest = _GOES_ON.sub("", question)
    goes_on = len(rest) < len(question)
    if not _named(rest):
        return True
    if goes_on and (not _ASKS.search(rest) or not _named(_NARROWS.sub("", rest))):
        return True
    if _is_fragment(rest) or (_SUPPOSES.match(rest) and len(_named(rest)) <= 1):
        return True
    return len(_named(rest)) <= 1 and _POINTS_BACK.search(_STANDS_FOR_NOTHING.sub(" ", rest)) is not None


def _is_fragment(question: str) -> bool:
    """Only a circumstance: "for contractors?", "in Germany as well?"."""
    return not _ASKS.search(question) and re.match(r"\W*(?:for|in|at|from|with|during|if)\b", question, re.I) is not None


def _named(question: str) -> list[str]:
    return [word for word in topic_words(without_measures(question)) if word.lower() not in _ACTS]


def _leans_cjk(question: str) -> bool:
    rest = _GOES_ON_CJK.sub("", question)
    goes_on = len(rest) < len(question)
    words = topic_words(_POINTS_BACK_CJK.sub(" ", without_measures(rest)))
    named = sum(len(word) for word in words if not _ACTS_CJK.fullmatch(word))
    if _SPEAKS_OF_IT_CJK.match(_STANDS_FOR_NOTHING_CJK.sub(" ", rest)):
        return True
    if named < 2:
        return True
    asks = _ASKS_CJK.search(rest) is not None
    if not asks and (goes_on or re.search(r"呢\W*$", rest)):
        return True
    return named <= 3 and _POINTS_BACK_CJK.search(_STANDS_FOR_NOTHING_CJK.sub(" ", rest)) is not None


def _topic(question: str) -> list[str]:
    rest = (_GOES_ON_CJK if has_cjk(question) else _GOES_ON).sub("", question)
    return topic_words(without_measures(rest))
