"""What the simulated model knows of English and Chinese: stems, everyday verbs and nouns, words that carry no content."""

from __future__ import annotations

import re
from functools import lru_cache
from types import MappingProxyType

from quarterdeck.core.text import STOP_WORDS, has_cjk, terms

__all__ = ["associated", "concepts", "content", "is_chinese", "label_of", "rest_of_chinese", "spaced", "stem"]

_STOP = STOP_WORDS | frozenset(
    "i me my mine myself we us our ours you your yours he him his she her hers they them their theirs someone somebody "
    "am being did done doing had having would could should may might must shall if then else so but not no nor only very "
    "too just about into over under up down out off again also more most some such own same each both few all because "
    "while until against between through during before after above below why whom whose s t d ll m re ve don doesn isn "
    "please kindly thanks thank hello hi hey ok okay yes sure tell show give get let know want need like help make explain "
    "say mean does many much long often soon far there here one ones it's what's i'd i'm i'll happen happens allowed "
    "possible actually really currently anything something everything else use using used take takes per via "
    "describe inform wonder wondering question answer look looking see now today".split()
)

# Forms the rules below would tear apart, and everyday words people use for one another.
_IRREGULAR = MappingProxyType(
    dict(
        pair.split(":")
        for pair in (
            "sent:send bought:buy paid:pay payment:pay payments:pay took:take gone:go went:go made:make lost:lose loss:lose "
            "broke:break broken:break cancellation:cancel cancelled:cancel cancelling:cancel application:apply "
            "applications:apply "
            "children:child people:person days:day approval:approv approvals:approv was:be were:be news:news status:status "
            "address:address addresses:address business:business forecast:weather rain:weather raining:weather snow:weather "
            "sunny:weather temperature:weather temperatures:weather vacation:leav holiday:leav holidays:leav vacations:leav "
            "package:parcel packages:parcel shipment:parcel shipments:parcel appointment:meeting appointments:meeting "
            "meeting:meeting meetings:meeting mail:email mails:email emails:email building:building cost:pric costs:pric "
            "costing:pric worth:pric training:training wage:salary wages:salary telephone:phone phones:phone "
            "booking:booking "
            "bookings:booking"
        ).split()
    )
)
_CHINESE_TABLE = (
    "工单:ticket 状态:status 进度:status 进展:status 天气:weather 气温:weather 温度:weather 下雨:weather "
    "预报:weather 余额:balance "
    "账户:account 账号:account 帐户:account 订单:order 会议室:room 会议:meeting 日历:calendar 日程:calendar "
    "假期:leave 请假:leave "
    "年假:leave 休假:leave 病假:leave 员工:employee 同事:employee 邮件:email 邮箱:email 电话:phone 手机:phone "
    "价格:price 费用:price "
    "汇率:rate 股价:stock 股票:stock 航班:flight 机票:flight 酒店:hotel 房间:room 包裹:parcel 快递:parcel "
    "物流:parcel 运单:parcel "
    "地址:address 城市:city 日期:date 时间:time 客户:customer 用户:user 发票:invoice 账单:invoice 报销:expense "
    "合同:contract "
    "项目:project 任务:task 文件:file 文档:document 知识库:knowledge 密码:password 电脑:computer 笔记本:laptop "
    "充电器:charger "
    "充电:charge 显示器:monitor 打印机:printer 网络:network 软件:software 硬件:hardware 系统:system 设备:device "
    "优先级:priority "
    "类别:category 类型:type 标题:title 描述:description 原因:reason 金额:amount 数量:quantity 名称:name 姓名:name "
    "部门:department "
    "经理:manager 主管:manager 工资:salary 薪资:salary 加班:overtime 出差:travel 差旅:travel 预算:budget 权限:permission "
    "付款:pay 支付:pay 转账:transfer 库存:stock 产品:product 商品:product 餐厅:restaurant 新闻:news 翻译:translate "
    "提醒:remind "
    "消息:message 短信:message 服务器:server 问题:issue 故障:issue 搜索:search 查询:search 政策:policy 货币:currency "
    "单位:unit "
    "语言:language 预订:booking 预约:booking 课程:course 培训:training 电影:movie 音乐:music 歌曲:song 护照:passport "
    "签证:visa "
    "保险:insurance 贷款:loan 银行:bank 信用卡:card 退款:refund"
)


@lru_cache(maxsize=32_768)
def stem(word: str) -> str:
    """The stem of a lower-cased English word: light, so that forms of one word meet and different words stay apart."""
    known = _IRREGULAR.get(word)
    if known is not None:
        return known
    if len(word) < 4 or not word.isascii() or not word.isalpha():
        return word
    if word.endswith("ies") and len(word) > 4:
        word = word[:-3] + "y"
    elif word.endswith(("sses", "ches", "shes", "xes", "zes")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    if word.endswith("ied") and len(word) > 4:
        word = word[:-3] + "y"
    for suffix in ("ing", "ed"):
        root = word.removesuffix(suffix)
        if root != word and len(root) >= 3 and any(c in "aeiouy" for c in root):
            word = root[:-1] if root[-1] == root[-2] and root[-1] not in "lsz" else root
            break
    if word.endswith("ment") and len(word) > 7:
        word = word[:-4]
    elif word.endswith("ly") and len(word) > 5:
        word = word[:-2]
    elif word.endswith(("tion", "sion")) and len(word) > 6:
        word = word[:-3]
    if word.endswith("ie"):
        return word[:-2] + "y"
    return word[:-1] if word.endswith("e") and len(word) > 3 else word


# Everyday Chinese words and the English stems they stand for, so that a question in one language meets a tool described in
# the other. Longer words first, since the expression takes the first that fits.
_CHINESE = MappingProxyType({word: stem(english) for word, english in (pair.split(":") for pair in _CHINESE_TABLE.split())})
_CHINESE_WORD = re.compile("|".join(sorted(_CHINESE, key=len, reverse=True)))
_CHINESE_NAME = MappingProxyType({english: word for word, english in reversed(list(_CHINESE.items()))})

# Words between the content of a Chinese question; taken out before bigrams are made, or they would join what is apart.
_CHINESE_FUNCTION = re.compile(
    "请问|你好|您好|是不是|有没有|能不能|可不可以|可以|能否|是否|什么时候|什么|怎么样|怎么办|怎么|怎样|如何|为什么|"
    "为何|多少|多久|"
    "多长时间|多长|哪里|哪儿|哪些|哪个|哪位|几个|谁|吗|呢|吧|啊|的话|以及|关于|根据|还是|需要|应该|想要|我想|我要|"
    "我们|你们|他们|"
    "我的|你的|我|你|您|他|她|它|这个|那个|这|那|一下|一个|帮忙|帮我|帮|麻烦|告诉|给我|知道|请|的|了|是|在|有|和|与|"
    "或|就|都|也|还|被|把|"
    "对|要|会|能|由|于|几"
)

_HAN = re.compile("[\u4e00-\u9fff]")
_KANA_OR_HANGUL = re.compile("[\u3040-\u30ff\uac00-\ud7af]")
_CHINESE_LIGHT = re.compile("今天|明天|后天|昨天|现在|目前|当前|查询|查看|查一查|查查|查|看看|搜索|搜|找|情况|最近")


def is_chinese(text: str) -> bool:
    """True for text in Chinese characters, without the letters of Japanese or Korean."""
    return _HAN.search(text) is not None and _KANA_OR_HANGUL.search(text) is None


def concepts(text: str, *, translate: bool = True) -> list[str]:
    """What a text is about: stems of its content words, unique, in order; with `translate` Chinese words also in English."""
    found: dict[str, None] = {}
    lowered = text.lower()
    chinese = has_cjk(lowered)
    if chinese and translate:
        found.update((_CHINESE[word], None) for word in _CHINESE_WORD.findall(lowered))
    if chinese:
        lowered = _CHINESE_FUNCTION.sub(" ", lowered)
    lone: list[str] = []
    for term in terms(lowered):
        if chinese and len(term) == 1 and has_cjk(term):
            lone.append(term)
        elif term not in _STOP:
            found[stem(term)] = None
    return list(found) or lone


_ASSOCIATIONS = tuple(
    (re.compile(pattern), words)
    for pattern, words in (
        (r"\bhow much (?:is (?:in|on|left)|money|do i have|have i)\b|\bowe\b|多少钱", "balance"),
        (r"\bwhere (?:is|are)\b|到哪", "track status location"),
        (r"\bhow (?:warm|cold|hot)\b|几度|热不热|冷不冷", "weather"),
        (r"\bmeetings?\b|\bappointments?\b", "event calendar"),
        (r"\bbroken\b|\bdoes(?: not|n't) work\b|坏了", "issue"),
    )
)
_WRITTEN = re.compile(r"\d+(?:,\d{3})+(?:\.\d+)?|\w[\w'’./@-]*\w|\w")


def associated(text: str) -> frozenset[str]:
    """What a text speaks of without the word: "how much is in my account" asks for a balance."""
    lowered = text.lower()
    return frozenset(stem(word) for pattern, words in _ASSOCIATIONS if pattern.search(lowered) for word in words.split())


def content(text: str) -> list[str]:
    """The content words of a text as they were written, in order: what one would type into a search box."""
    if not has_cjk(text):
        return [word for word in _WRITTEN.findall(text) if word.lower().split("'")[0] not in _STOP]
    pieces = re.split(r"[\s，。？！、；：,.?!;:“”\"'（）()]+", _CHINESE_FUNCTION.sub(" ", text))
    pieces = [piece for piece in pieces if piece and piece.lower() not in _STOP]
    return [piece for piece in pieces if len(piece) > 1] or pieces


def rest_of_chinese(text: str, known: frozenset[str]) -> str:
    """A Chinese clause without little words, verbs of asking, days, and the everyday words whose English is `known`."""
    text = _CHINESE_WORD.sub(lambda match: " " if _CHINESE[match.group()] in known else match.group(), text)
    pieces = re.split(r"[\s，。？！、；：,.?!;:]+", _CHINESE_FUNCTION.sub(" ", _CHINESE_LIGHT.sub(" ", text)))
    return " ".join(piece for piece in pieces if piece)


def label_of(name: str, *, chinese: bool) -> str:
    """A field or tool name as a reader sees it: as words, in Chinese where it is an everyday word."""
    words = spaced(name).lower()
    if chinese:
        return str(_CHINESE_NAME.get(stem(words), words))
    return words


_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|[_.\-/]+")


def spaced(name: str) -> str:
    """An identifier as words: ``getTicket_status`` gives ``get Ticket status``."""
    return _CAMEL.sub(" ", name).strip()
