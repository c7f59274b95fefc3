"""What the simulated model says in its own words, in English and Chinese."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = [
    "ask_for",
    "blind",
    "done",
    "failed",
    "greeting",
    "in_doubt",
    "listed",
    "more",
    "no_sources",
    "nothing_about",
    "nothing_found",
    "pending",
    "refused",
    "welcome",
]


def nothing_found(chinese: bool) -> str:
    return "我没有找到能回答这个问题的内容。" if chinese else "I found nothing that answers this."


def nothing_about(chinese: bool, what: str) -> str:
    what = what.strip(" ,.;?!，。；？！")
    return f"我没有找到关于“{what}”的内容。" if chinese else f"I found nothing about “{what}”."


def blind(chinese: bool) -> str:
    return "我是模拟模型，没有看图片。" if chinese else "I am the simulated model and have not looked at the picture."


def no_sources(chinese: bool, abilities: Sequence[str]) -> str:
    if chinese:
        return "我是模拟模型，没有可以用来回答这个问题的内容。" + (f"我可以：{'；'.join(abilities)}。" if abilities else "")
    can = f" I can: {'; '.join(abilities)}." if abilities else ""
    return f"I am the simulated model and have nothing to answer this from.{can}"


def greeting(chinese: bool, abilities: Sequence[str]) -> str:
    if chinese:
        return "你好！我是模拟模型。" + (f"我可以：{'；'.join(abilities)}。" if abilities else "请告诉我你的问题。")
    can = f" I can: {'; '.join(abilities)}." if abilities else " Ask me about what you give me to read."
    return f"Hello! I am the simulated model.{can}"


def welcome(chinese: bool) -> str:
    return "不客气。" if chinese else "You are welcome."


def ask_for(chinese: bool, names: Sequence[str], tool: str) -> str:
    if chinese:
        return f"要完成“{tool}”，请提供：{'、'.join(names)}，可以吗？"
    wanted = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    return f"To {tool}, I need the {wanted}: which should I use?"


def pending(chinese: bool, what: str) -> str:
    if chinese:
        return f"我已准备好草稿（{what}），正在等待审批；目前尚未执行。"
    return f"I prepared a draft ({what}). It waits for approval; nothing has been done yet."


def refused(chinese: bool, what: str, reason: str) -> str:
    return f"没有执行{what}：{reason}" if chinese else f"This was not done ({what}): {reason}"


def failed(chinese: bool, what: str, reason: str) -> str:
    return f"{what}没有成功：{reason}" if chinese else f"This did not work ({what}): {reason}"


def in_doubt(chinese: bool, what: str) -> str:
    if chinese:
        return f"{what}已经开始，但不清楚是否完成；请先核实，再决定是否重试。"
    return f"It is not known whether this happened ({what}); please check before trying again."


def done(chinese: bool, what: str, details: str) -> str:
    tail = f"：{details}" if chinese else f": {details}"
    return f"已完成（{what}）{tail if details else ''}" if chinese else f"Done ({what}){tail if details else ''}"


def more(chinese: bool, count: int) -> str:
    return f"另有{count}项。" if chinese else f"And {count} more."


def listed(chinese: bool, parts: Iterable[str]) -> str:
    return ("，" if chinese else ", ").join(parts)
