"""Verbs of requests and of tool names, in classes: classes are compared, never words."""

from __future__ import annotations

import re
from types import MappingProxyType

from quarterdeck.core.text import has_cjk
from quarterdeck.models.simulation.language import stem

__all__ = ["NOUN_VERBS", "READ_ACTS", "WRITE_ACTS", "act_of", "akin", "chinese_act", "opposed"]

_VERBS = {
    "create": "create open submit raise file add log register new draft apply book schedule order reserve start "
    "launch request "
    "place enroll insert report issue hire buy purchase subscribe arrange "
    "开 创建 新建 建立 提交 申请 登记 预订 预约 添加 增加 下单 订购 订 购买 提 报修 安排",
    "send": "send email message mail forward notify post text share reply invite remind 发送 发 通知 转发 提醒 邀请 回复 寄",
    "cancel": "cancel abort withdraw revoke terminate unsubscribe 取消 撤销 撤回 终止 退订",
    "delete": "delete remove erase drop wipe clear 删除 删掉 移除 清空",
    "update": "update change edit modify set adjust rename reschedule move assign reset switch replace extend "
    "escalate enable "
    "disable turn upgrade mark 更新 修改 更改 设置 调整 重置 分配 指派 延长 升级 改",
    "transfer": "transfer pay wire refund deposit charge 转账 支付 付款 退款 汇款 转 付 汇",
    "close": "close resolve complete finish archive 关闭 结束 解决",
    "approve": "approve reject confirm sign grant 批准 审批 确认 拒绝 授权",
    "run": "execute run restart reboot deploy trigger play install stop 执行 运行 重启 部署 播放 安装 停止",
    "find": "find search look lookup query browse discover recommend suggest 查找 搜索 查询 检索 推荐 搜 找",
    "show": "get show list fetch retrieve read view display check track describe return count tell give see watch monitor "
    "provide identify 查看 查一下 查查 看看 获取 显示 列出 告诉 跟踪 读取 查 看",
    "compute": "calculate compute convert estimate translate analyze summarize compare evaluate predict classify generate "
    "计算 换算 翻译 分析 比较 估算",
}
_ACTS = MappingProxyType(
    {form: act for act, words in _VERBS.items() for word in words.split() for form in (word, stem(word))}
)
READ_ACTS = frozenset({"find", "show", "compute"})
WRITE_ACTS = frozenset(_VERBS) - READ_ACTS

# Verbs that are nouns or adjectives just as often: they count as verbs only where a verb stands.
NOUN_VERBS = frozenset(
    "order book file log report request change transfer post schedule email message mail text draft issue set place "
    "new open clear "
    "move play start stop sign charge share run wire track list check view count look query read search pay mark".split()
)
# Classes whose members people use for one another: closing a ticket may be an update, an email may be created or sent.
_AKIN = frozenset(
    frozenset(pair.split("~"))
    for pair in "close~update cancel~delete cancel~update cancel~close send~create approve~update find~show transfer~send "
    "transfer~create update~create run~update show~compute".split()
)
_UNDOING = frozenset({"cancel", "delete", "close"})
_CHINESE_VERB = re.compile("|".join(sorted((word for word in _ACTS if has_cjk(word)), key=len, reverse=True)))


def act_of(word: str) -> str | None:
    """The class of a lower-cased verb, None for any other word."""
    return _ACTS.get(word) or _ACTS.get(stem(word))


def chinese_act(text: str) -> tuple[str, int] | None:
    """The class of the first verb of a Chinese text, and where the verb ends; None if the text has none we know."""
    match = _CHINESE_VERB.search(text)
    return (_ACTS[match.group()], match.end()) if match else None


def akin(one: str, other: str) -> bool:
    """True if the classes are near enough that one word may be meant by the other."""
    return frozenset((one, other)) in _AKIN


def opposed(one: str, other: str) -> bool:
    """True if one class undoes what the other does, or only reads."""
    return (one in _UNDOING) != (other in _UNDOING) or one in READ_ACTS or other in READ_ACTS
