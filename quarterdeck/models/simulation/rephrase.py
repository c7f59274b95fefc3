"""The same question in other words: what people say at a desk, in the words that rules and manuals use."""

from __future__ import annotations

import re
from types import MappingProxyType

__all__ = ["rephrased"]

_ENGLISH = MappingProxyType(
    {
        "vacation": "leave", "vacations": "leave", "holiday": "leave", "holidays": "leave", "days off": "leave",
        "time off": "leave", "pto": "leave", "boss": "manager", "supervisor": "manager", "line manager": "manager",
        "sick": "ill illness", "flu": "illness", "physician": "doctor", "doctor's note": "doctor certificate",
        "notebook": "laptop", "computer": "laptop", "pc": "laptop", "mobile": "phone", "cell phone": "phone",
        "cellphone": "phone", "smartphone": "phone", "iphone": "phone", "wage": "salary", "wages": "salary",
        "paycheck": "salary", "payslip": "payroll", "refund": "claim expense", "refunded": "claim expense",
        "reimburse": "claim expense", "reimbursed": "claim expense", "reimbursement": "claim expense", "quit": "resign",
        "quits": "resign", "fired": "dismissal", "sacked": "dismissal", "kid": "child", "kids": "child", "son": "child",
        "daughter": "child", "baby": "birth parental", "newborn": "birth parental", "father": "parental",
        "mother": "parental", "guest": "visitor", "guests": "visitors", "wlan": "wi-fi", "wifi": "wi-fi",
        "screen": "monitor", "screens": "monitors", "display": "monitor", "buy": "purchase", "bought": "purchase",
        "spam": "phishing",
        "scam": "phishing", "hacked": "security incident", "log in": "sign in", "login": "sign-in",
        "credit card": "corporate card", "company card": "corporate card", "cab": "taxi", "plane": "flight", "fly": "flight",
        "telework": "remote work", "teleworking": "remote work", "wfh": "work from home", "home office": "work from home",
        "overseas": "abroad", "foreign country": "abroad", "seminar": "training course", "class": "course",
        "coworker": "colleague", "coworkers": "colleagues", "teammate": "colleague", "lunch": "meal", "dinner": "meal",
        "food": "meals", "accommodation": "hotel", "present": "gift", "presents": "gifts", "moving house": "relocation",
        "extra hours": "overtime", "working late": "overtime", "id card": "badge", "access card": "badge",
        "2fa": "second factor authenticator", "two-factor": "second factor authenticator", "wipe": "erase",
        "wiped": "erased",
        "swipe card": "badge", "get back": "restore", "recover": "restore", "vendor": "supplier", "vendors": "suppliers",
        "bill": "invoice", "bills": "invoices", "firm": "company", "helpdesk": "service desk", "help desk": "service desk",
        "it support": "service desk", "wrong password": "wrong attempts", "trial period": "probation",
        "pay rise": "pay change", "raise": "pay change",
    }
)  # fmt: skip
_CHINESE = MappingProxyType(
    {
        "老板": "经理", "上司": "经理", "领导": "经理", "主管": "经理", "手提电脑": "笔记本电脑", "休假": "年假",
        "假期": "年假",
        "薪水": "工资", "薪资": "工资", "薪酬": "工资", "退钱": "报销", "退款": "报销", "看病": "医生", "客人": "访客",
        "来宾": "访客", "外来人员": "访客", "无线网络": "Wi-Fi", "无线网": "Wi-Fi", "屏幕": "显示器", "小孩": "子女",
        "孩子": "子女", "儿子": "子女", "女儿": "子女", "发票": "票据", "收据": "票据", "小票": "票据", "打车": "出租车",
        "口令": "密码", "登不上": "无法登录", "充不进电": "无法充电", "充不上电": "无法充电", "病假条": "医生证明",
        "请病假": "病假", "用餐": "餐费", "吃饭": "餐费", "帐号": "账号", "账户": "账号", "补休": "调休", "客服": "服务台",
    }
)  # fmt: skip
_WORD = re.compile(rf"\b(?:{'|'.join(map(re.escape, sorted(_ENGLISH, key=len, reverse=True)))})\b", re.IGNORECASE)
_RUN = re.compile("|".join(map(re.escape, sorted(_CHINESE, key=len, reverse=True))))


def rephrased(text: str) -> str:
    """The text with everyday words replaced; the same text if it holds none."""
    return _RUN.sub(lambda found: _CHINESE[found[0]], _WORD.sub(lambda found: _ENGLISH[found[0].lower()], text))
