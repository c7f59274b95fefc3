"""Words of any office that mean the same, in English and Chinese. One group a line.

General language only: names of one company's programs and rules belong into a list of its own.
"""

from __future__ import annotations

__all__ = ["EVERYDAY"]

_ENGLISH = """
leave, annual leave, vacation, holiday, holidays, days off, day off, pto
leave, absent, absence, away, out of office, off work
vacation, holiday
absence note, out of office, automatic reply, auto reply
manager, boss, supervisor, line manager, superior, team lead
manager's manager, department head, head of department, director
employee, worker, staff, member of staff, personnel
colleague, coworker, co-worker, teammate, workmate
ill, sick, unwell, illness, sickness, flu, fever, cold, migraine
doctor, physician, gp, medic
certificate, doctor's note, sick note, medical note
medical appointment, dentist, doctor's visit, check-up
salary, wage, income, earnings
reimburse, reimbursed, reimbursement, refund, refunded, claim, expense, expenses, money back, own pocket
resign, resignation, quit, hand in my notice, leave the company
dismiss, dismissal, fired, sacked, laid off, let go, end of employment
child, children, kid, kids, son, daughter, toddler
parental leave, maternity leave, paternity leave, baby, newborn, birth, pregnant, expecting
parent, dad, mum, mom, father, mother
family, wife, husband, spouse
visitor, visitors, guest, guests, visiting, drop by, dropping by, come by
laptop, notebook, computer, pc, macbook, thinkpad
personal computer, own pc, private laptop, home computer, own laptop
phone, mobile, smartphone, cell phone, iphone, android, handset
call, phone, telephone, dial, hotline, phone number, extension
device, gadget, equipment, hardware
monitor, screen, display
blank, no picture
dock, docking station, docking
charge, charging, charger, power supply, power adapter, plug, plugged in
battery, accu
swollen, bulge, bulges, bulging, bloated, hump
touchpad, trackpad
printer, copier, printing machine, copying machine
print, printed, printout, printing, hard copy, print job
colour, color, coloured
jam, stuck, jammed
scan, scanned, digitise
email, e-mail, mail, mailed
mailbox, inbox, mail account
attachment, attached file, large file, big file, video
sent, send, goes out, outgoing
wi-fi, wifi, wlan, wireless, hotspot
reception, coverage
access point, router, repeater
network, internet, connection
vpn, tunnel, remote connection
disconnects, cuts off, kicks out, kick out, logged out, log on again, sign in again
password, passcode, passphrase, pass phrase, login secret, credentials, login
account, login, user account
sign in, log in, log on, sign on, login, logging in, get in, sign-in
locked, blocked, locked out, shut out, suspended
wrong attempts, mistyped, wrong password, typed wrong, too many tries
by itself, on its own, automatically, automatic
unlock, unblock
authenticator, second factor, two-factor, 2fa, mfa, multi-factor, authentication app, code app
text message, sms
prompt, pop-up, popup, push, confirm a login
phishing, scam, spam, fraud, fraudulent, fake, suspicious, strange message, weird mail, strange mail, vouchers, gift cards
opened the link, typed into
switch off, shut down, turn off, pull the plug, power off
security incident, breach, hacked, compromised, leak, leaked, data leak
wrong address, wrong person, wrong recipient
malware, virus, ransomware, infected
stolen, theft, nicked, robbed, pinched, thief
lost, missing, mislaid, disappeared, vanished
badge, id card, access card, swipe card, key card
software, program, programme, application, tool
install, set up, setup, installation, put on
licence, license, subscription
administrator, admin, root, administrator rights, admin rights
update, upgrade, patch, patched
restore, recover, bring back, undelete, retrieve
older state, earlier state, previous version, overwrote, overwritten, saved over
delete, deleted, erase, wipe, remove, removed, binned, trash, thrown out, threw out
backup, backups, backed up, safe copy
file, document, spreadsheet, slides, presentation
folder, directory
drive, disk, hard disk, storage
broken, defective, faulty, out of order, not working, does not work, dying, playing up
repair, mend, repaired
replace, replacement, replaced, exchange, new one, another one, newer, brand new
service desk, help desk, helpdesk, it support, it department, it folks, it team, it guys
hours, opening hours, open until, reachable
response, respond, gets back, get back to me
ticket, support request
approve, approval, approved, sign off, okay, permission, green light, decide, decides
forbidden, prohibited
limit, maximum, cap, ceiling, upper limit
deadline, latest
in advance, beforehand
report, notify, tell, inform, let know
buy, purchase, procure, bought
supplier, suppliers, vendor, vendors, seller
quote, quotes, offer, quotation
contract, agreement
confidentiality agreement, nda, non-disclosure agreement
receipt, receipts, slip, proof of purchase
corporate card, company card, credit card, company credit card, mastercard
lend, borrow
trip, business trip, travel, travelling, journey
flight, flights, plane, fly, flying, airline
train, rail, railway
taxi, taxis, cab, cabs, uber
hotel, hotels, accommodation, lodging, place to stay, place to sleep
fair, fairground, trade show, expo
rental car, hire car, rent a car
mileage, kilometre, km, petrol, own car
meals, meal, food, lunch, dinner, breakfast, restaurant, eat
per diem, daily allowance, meal allowance, fixed sum
allowance, subsidy, contribution, money towards
gift, gifts
customer, customers, client, clients
training, course, seminar, workshop, conference, education, attend
learn, learning, study
budget, funds
work from home, working from home, home office, remote work, telework, wfh, remotely
home, apartment
abroad, foreign country, overseas, another country, other country
relocation, relocate, moving house, move to, moving company, movers, removal company
overtime, extra hours, work late, working late, long hours, stay late, stay longer, after hours, long shift
weekend, saturday, sunday
in return, compensated, compensation
public holiday, bank holiday
working day, working time, workday
probation, trial period, probationary, probation period, just started
performance review, appraisal, evaluation, annual review, assessment
rating, ratings, grade
disagree, do not agree, unfair, contest, object
appeal, objection, object, complain
comment, feedback, opinion
goal, goals, target, objective
referral, refer, recommend, recommendation
bonus, reward, premium
candidate, candidates, applicant
hire, hiring, recruit, recruiting, recruitment
position, vacancy, opening
headcount, another person, new hire, more people
engineering, developer, backend, programmer, engineer
contractor, contractors, freelancer, freelance
virtual desktop, remote desktop, from a browser
team event, team events, team party, team outing, christmas party
part-time, part time, fewer hours, less hours
desk, table, workplace
chair, furniture
locker, cupboard
locked drawer, put away, lock away
printouts, documents
confidential, secret, sensitive
source code, code, program code
ai tool, ai tools, chatbot, chatgpt, online service
destroy, shred, shredder, throw away, dispose, bins
stranger, unknown person, somebody unknown
accompany, accompanied, escort
reception, front desk, lobby
office, building, premises
photograph, photo
slow, sluggish, laggy
expire, expired, run out, ran out, lapse, lapses
carry over, carried over, take over to next year, transfer to next year
unused, remaining, left over
at once, immediately, right away, straight away
free of charge, for free, at no cost
payment, wire, pay out, paid out
pay back, repay, repays, repayment, paid back
fee, fees, cost, costs, price, charge
exam, exams, examination, examinations
calculate, calculated, calculation, formula
eur, euro, euros
forward, forwarded, redirect
bank details, bank account, iban, account number
come back, coming back
gradual, step by step, slower, phased
wrong, incorrect, mistaken
forgot, forgotten, cannot remember, can't remember, forget
emergency, emergencies
server, servers, production
warning, written warning, reprimand
"""

_CHINESE = """
年假, 休假, 假期, 放假, 带薪假, 长假, 暑假, 休息
病假, 请病假, 生病, 发烧, 发高烧, 感冒, 不舒服, 拉肚子, 病倒
看病, 看医生, 去医院, 复诊
经理, 领导, 老板, 主管, 上司, 上级
员工, 职工, 同事
工资, 薪水, 薪资, 薪酬, 工钱
报销, 退钱, 退款, 垫付, 报账, 自己掏钱, 掏钱, 公司出
票据, 发票, 收据, 小票, 凭条, 单据
医生证明, 病假条, 医院证明, 诊断证明, 医院开
子女, 孩子, 小孩, 儿子, 女儿, 宝宝
访客, 客人, 来宾, 来访, 外来人员
客户, 顾客, 甲方
访客, 来开会
笔记本电脑, 笔记本, 手提电脑, 电脑, 本子
私人电脑, 个人电脑, 家里的电脑, 自己的电脑, 台式机
充电器, 电源适配器
插座, 插电, 插头
充电, 充不进电, 没电, 充不上电, 无法充电
电池, 电量
显示器, 屏幕, 显示屏
鼓包, 鼓起, 鼓起来, 膨胀, 变形
密码, 口令, 登录密码
账号, 帐号, 账户, 帐户
登录, 登陆, 登不上, 登进去, 登一次, 进不去
锁定, 锁住, 被锁, 锁了, 封了
忘记, 忘了, 想不起来, 记不得, 不记得
输错, 打错, 打错了, 输入错误, 记错
重置, 重设, 找回
验证器, 验证码, 动态码
无线网络, 无线网, 无线, wi-fi, wifi, 上网
上网码, 验证码
酒店, 宾馆, 旅馆
火车, 高铁, 动车, 列车
飞机, 航班, 机票, 坐飞机
出租车, 打车, 的士, 网约车
断开, 断掉, 掉线, 断了, 断线, 重新登录
连接, 连上, 连着, 接入
卡, 速度很慢, 很卡, 特别卡
设备, 机器
加班, 工作时间以外, 延长工作时间, 干到半夜, 留到
工作时间, 干活, 上班, 工时
小时, 钟头
调休, 补休, 倒休, 换休
周末, 星期六, 星期日, 周六, 周日, 星期天
公共假期, 法定假日, 节假日, 法定节假日
结转, 留到明年, 接着用, 顺延, 下一年, 明年
未休, 没休, 没用完, 没休完, 剩下, 还剩
批准, 审批, 同意
答复, 回复, 回应, 不理我
申请, 提交, 提出, 提了
拒绝, 不批, 驳回
提前, 事先, 预先
通知, 说一声, 打招呼, 告知
用餐, 吃饭, 餐费, 下馆子
招待, 请客户, 宴请
补贴, 津贴, 补助
出差, 差旅, 商务旅行
礼品, 礼物
罚款, 罚单, 被罚, 被罚了, 超速
丢失, 丢了, 弄丢, 遗失, 不见了
被偷, 失窃, 被盗
前台, 接待处
陪同, 陪着, 有人陪, 单独
登记, 报备, 预约
证件, 身份证, 工牌, 胸牌, 牌子
陌生人, 不认识的人, 没有佩戴证件
拍照, 照相, 拍照片
辞职, 离职, 跳槽
退还, 还给我, 补回来
入职, 新来, 刚来
服务台, 客服, 帮助台
电话, 打电话, 来电
邮件, 邮箱, 电子邮件
软件, 程序
文件, 文档
删除, 删掉, 删了
恢复, 还原
打印机, 复印机
正常, 是不是坏了
免费, 不要钱, 不收费, 给我换
更换, 换新, 换一个
立即, 马上, 立刻
"""


def _groups(lines: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(word.strip() for word in line.split(",")) for line in lines.strip().splitlines())


EVERYDAY = (*_groups(_ENGLISH), *_groups(_CHINESE))
