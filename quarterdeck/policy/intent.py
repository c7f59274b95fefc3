"""What a user asked for: which tools their own typed words name, and how often.

No model reads the words: an intent is as good as the words are plain, and where they are not, a person is asked. A tool is
asked for by a phrase: all its words in one sentence, in any order and inflection, none of them quoted and none forbidden
("do not send ..."). Words in quotation marks are somebody's text, a title or a message, and not a wish.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache
from itertools import islice
from typing import NamedTuple

from quarterdeck.core.text import has_cjk, sentences
from quarterdeck.policy.grounding import Ground

__all__ = ["Words", "phrases_of"]

MANY = 16  # what "each" and "all" stand for

_VERBS: Mapping[str, str] = {
    "send": "send/mail/email/write/reply/forward/notify/发送/寄/写信/回复/转发",
    "create": "create/add/make/new/write/open/schedule/set/book/创建/新建/添加/建立/安排",
    "add": "add/append/include/invite/put/添加/加入/加上",
    "append": "append/add/put/write/追加/添加",
    "open": "open/create/raise/report/file/开/提交/创建",
    "delete": "delete/remove/erase/drop/删除/移除/删掉",
    "remove": "remove/delete/take/移除/删除",
    "cancel": "cancel/call/取消",
    "update": "update/change/edit/modify/set/correct/更新/修改/更改",
    "set": "set/change/update/设置/改",
    "move": "move/shift/移动",
    "reschedule": "reschedule/move/postpone/shift/改期/推迟/改到",
    "share": "share/grant/give/共享/分享",
    "post": "post/publish/write/发布/发帖",
    "publish": "publish/post/发布",
    "pay": "pay/transfer/settle/支付/付款/付",
    "transfer": "transfer/send/pay/转账/汇款",
    "reserve": "reserve/reservation/book/预订/预定",
    "book": "book/reserve/reservation/预订/预定",
    "assign": "assign/give/分配/指派",
    "close": "close/resolve/关闭",
    "restart": "restart/reboot/重启",
    "fetch": "fetch/open/read/get/look/visit/summarise/summarize/打开/读取/查看",
}
_NOUNS: Mapping[str, str] = {
    "email": "email/mail/message/@/邮件",
    "mail": "mail/email/message/@/邮件",
    "message": "message/mail/email/消息",
    "event": "event/meeting/appointment/reminder/calendar/活动/会议/日程/提醒",
    "file": "file/document/doc/sheet/list/文件/文档",
    "ticket": "ticket/request/issue/incident/工单",
    "url": "url/page/site/link/://",
}
_FILLER = frozenset("a an the new my draft to of for".split())
_SIGNS = ("@", "://")  # what makes an address or a link, wherever in a word
_NOT = frozenset("not never without don't dont no cannot can't nor".split())
_NOT_CJK = frozenset("不别勿")
_REACH = 3  # words behind a negation that it forbids
_EACH = re.compile(r"\b(?:each|every|everyone|everybody|all|both)\b|[每各]|所有", re.IGNORECASE)
_QUOTED = re.compile(
    r"\"[^\"\n]*\"|“[^”]*”|「[^」]*」|『[^』]*』|«[^»]*»|(?<![\w])'(?:[^'\n]|(?<=\w)'(?=\w))*'(?![\w])|(?<![\w])‘[^’\n]*’(?![\w])"
)
_UNFORGETTABLE = re.compile(r"\b(?:do not|don't|don’t|never) (?:forget|hesitate|fail)\b|不要忘|别忘", re.IGNORECASE)
_WORD = re.compile(r"[\w@][\w'’@.\-]*|://")
_ENDINGS = ("ations", "ation", "ings", "ing", "ies", "ied", "ed", "es", "s", "e")


@lru_cache(maxsize=1024)
def phrases_of(name: str) -> tuple[str, ...]:
    """The phrase by which a tool of this name is asked for, where its policy gives none: its verb, and any of its nouns."""
    tokens = [token for token in re.split(r"[_\-]+|(?<=[a-z0-9])(?=[A-Z])", name) if token]
    words = [token.lower() for token in tokens if token.lower() not in _FILLER]
    if not words:
        return (name,)
    verb = next((word for word in words if word in _VERBS), words[0])
    nouns = [word for word in words if word != verb]
    about = "/".join(_NOUNS.get(noun, noun) for noun in nouns)
    return (" ".join(filter(None, (_VERBS.get(verb, verb), about))),)


class Words(Ground):
    """What a user typed: values may stand in it, and it asks for calls. It is read once, whatever is asked of it."""

    def __init__(self, texts: Iterable[str]) -> None:
        super().__init__(texts)
        self._asked: dict[tuple[str, ...], int] = {}  # a tool that is called in every turn is asked for by the same words

    def asked(self, phrases: Sequence[str]) -> int:
        """How many calls it asks for by any of `phrases`: one for each sentence, many where it says "each" or "all".

        Args:
            phrases: Words that must all stand in a sentence; ``/`` stands between words of which any one will do.
        """
        known = tuple(phrases)
        if known not in self._asked:
            self._asked[known] = self._count(known)
        return self._asked[known]

    def _count(self, phrases: tuple[str, ...]) -> int:
        wanted = _options(phrases)
        found = 0
        for said in self._sentences:
            if any(_apart([said.places(options, len(phrase)) for options in phrase]) for phrase in wanted):
                found += MANY if _EACH.search(said.text) else 1
        return found

    @cached_property
    def _sentences(self) -> tuple[_Sentence, ...]:
        return tuple(map(_Sentence, _wishes(self.texts)))


class _Option(NamedTuple):
    """A word by which something is asked for; `stem` is None of a Chinese one, which stands anywhere in a sentence."""

    word: str
    stem: str | None


@lru_cache(maxsize=1024)
def _options(phrases: tuple[str, ...]) -> tuple[tuple[tuple[_Option, ...], ...], ...]:
    """Of each phrase, for each of its words, the options of which any will do."""
    return tuple(tuple(tuple(map(_option, word.split("/"))) for word in phrase.split()) for phrase in phrases)


def _option(word: str) -> _Option:
    return _Option(word, None if has_cjk(word) else _stem(word))


def _wishes(words: Iterable[str]) -> Iterator[str]:
    for text in words:
        plain = _UNFORGETTABLE.sub(" ", _QUOTED.sub(" ' ", text).replace("’", "'"))
        for start, end in sentences(plain):
            yield plain[start:end]


def _apart(places: Sequence[frozenset[int]], taken: frozenset[int] = frozenset()) -> bool:
    """True if every word of a phrase has a place of its own: "my mail" is not somebody who mails a mail."""
    if not places:
        return True
    return any(_apart(places[1:], taken | {place}) for place in places[0] - taken)


class _Sentence:
    """A sentence, and where words stand in it that it does not forbid."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._letters = text.lower().replace("-", "")  # whatever its words are, their stems stand in it

    @cached_property
    def _tokens(self) -> Sequence[str]:
        return _WORD.findall(self.text.lower())

    @cached_property
    def _stems(self) -> Mapping[str, Sequence[int]]:
        """Stem → the places of its words."""
        places: dict[str, list[int]] = {}
        for place, token in enumerate(self._tokens):
            places.setdefault(_stem(token), []).append(place)
        return places

    def places(self, options: Iterable[_Option], most: int) -> frozenset[int]:
        """Where any of `options` stands; places of Chinese words, which have no number, are below zero.

        Args:
            most: As many words as want a place of their own: with as many places to choose from each finds one.
        """
        return frozenset(islice((place for option in options for place in self._of(option)), most))

    def _of(self, option: _Option) -> Iterator[int]:
        word, stem = option
        if stem is None:
            place = self.text.find(word)
            before = self.text[max(place - _REACH, 0) : max(place, 0)]
            if place >= 0 and _NOT_CJK.isdisjoint(before):
                yield -1 - place
            return
        if word in _SIGNS:
            stands: Sequence[int] = [place for place, token in enumerate(self._tokens) if word in token]
        else:
            stands = self._stems.get(stem, ()) if stem in self._letters else ()
        for place in stands:
            if _NOT.isdisjoint(self._tokens[max(place - _REACH, 0) : place]):
                yield place


def _stem(word: str) -> str:
    """`word` without its ending; good enough to know "scheduling" and "schedule" as one."""
    word = word.strip(".-'").removesuffix("'s").replace("-", "")
    if word.endswith(_ENDINGS):
        for ending in _ENDINGS:
            if word.endswith(ending) and len(word) - len(ending) >= 3:
                word = word[: -len(ending)]
                break
    return word[:-1] if word[-1:] == word[-2:-1] else word
