"""Two invented support desks, and questions their articles answer or do not answer."""

from __future__ import annotations

ENGLISH = {
    "vpn": """# Connect to the VPN
Install the Harbour client from the software portal and sign in with your company account.
Confirm the sign-in with the second factor on your phone. The VPN is required outside the office.
## Connection drops
If the tunnel drops every few minutes, switch the protocol from UDP to TCP in the client's settings.
""",
    "password": """# Reset a forgotten password
Open the account page, choose "Forgot password" and enter your e-mail address.
A link arrives within five minutes and is valid for one hour. Accounts lock after six wrong attempts.
""",
    "laptop": """# Laptop replacement
Laptops are replaced every four years. A damaged device is exchanged within two working days.
Bring the broken laptop and its charger to the service desk on floor 3.
## Battery does not charge
Try another charger first. If the battery still does not charge, request a replacement battery.
""",
    "leave": """# Annual leave
Full-time employees have 28 days of paid annual leave per calendar year.
Up to five unused days can be carried over until the end of March. Requests go to your line manager.
""",
    "sick": """# Sick leave
Tell your manager before 10 a.m. on the first day of illness. A doctor's certificate is needed from the fourth day.
""",
    "expenses": """# Travel expenses
Hand in receipts within 30 days of the trip. Meals abroad are reimbursed up to 45 euros per day.
Train tickets in second class are booked through the travel portal; flights need approval by a director.
""",
    "payroll": """# When salaries are paid
Salaries are paid on the 25th of each month. Payslips can be downloaded from the payroll portal.
""",
    "printer": """# Set up a printer
Printers are found automatically on the office network. Release a print job by holding your badge to the reader.
""",
    "phishing": """# Report a suspicious e-mail
Do not open attachments. Use the button "Report phishing" in the mail program; the security team answers within an hour.
""",
    "guest": """# Wi-Fi for visitors
Visitors get a code for the guest network at the reception. The code works for one day.
""",
    "onboarding": """# First day of a new colleague
Order the equipment two weeks ahead. The badge is handed out by reception after an identity check.
""",
    "remote": """# Working from home
Employees may work from home up to three days a week. Working from another country needs approval by HR.
""",
}
ENGLISH_ANSWERED = {
    "How do I connect to the VPN?": "vpn",
    "my vpn connection keeps dropping, what can I do": "vpn",
    "Is the VPN required when I am outside the office?": "vpn",
    "I forgot my password": "password",
    "How can I reset my password?": "password",
    "how long is the password link valid": "password",
    "When are laptops replaced?": "laptop",
    "My laptop does not charge": "laptop",
    "where do I bring a broken laptop?": "laptop",
    "How many days of annual leave do I have?": "leave",
    "Can I carry over unused leave days?": "leave",
    "When do I need a doctor's certificate?": "sick",
    "What must I do when I am sick?": "sick",
    "How much is reimbursed for meals abroad?": "expenses",
    "Who approves flights?": "expenses",
    "When is my salary paid?": "payroll",
    "Where can I download my payslip?": "payroll",
    "How do I set up a printer?": "printer",
    "How do I report a phishing mail?": "phishing",
    "wifi for visitors": "guest",
    "How does a visitor get on the guest network?": "guest",
    "How many days a week may I work from home?": "remote",
    "Can I work from another country?": "remote",
}
ENGLISH_UNANSWERED = (
    "What is the capital of Mongolia?",
    "How tall is Mount Everest?",
    "Who won the football world cup in 2018?",
    "Can you recommend a good pasta recipe?",
    "What is the boiling point of ethanol?",
    "Which dental insurance does the company offer?",
    "How do I apply for parental benefits in Canada?",
    "Is there a gym membership discount?",
    "What are the opening hours of the canteen?",
    "How do I get a parking permit?",
    "When is the next board meeting?",
    "How do I train a neural network?",
    "Where can I charge my electric car?",
    "What is our stock price today?",
    "Write a poem about the sea",
    "Do we have a policy on pets in the building?",
)
CHINESE = {
    "vpn-zh": """# 连接公司虚拟专网
从软件门户安装客户端，用公司账号登录，并在手机上确认第二因素。在办公室以外必须使用虚拟专网。
""",
    "mima": """# 重置忘记的密码
打开账号页面，点击“忘记密码”并输入邮箱地址。五分钟内会收到链接，一小时内有效。输错六次后账号会被锁定。
""",
    "nianjia": """# 年假规定
全职员工每个自然年享有二十八天带薪年假。未休的年假最多可以结转五天，须在三月底之前休完。申请由直属经理审批。
""",
    "bingjia": """# 病假
生病第一天上午十点之前通知经理。从第四天起需要提交医生证明。
""",
    "baoxiao": """# 差旅报销
出差结束后三十天内提交发票。境外餐费每天最多报销四十五欧元。机票需要总监批准。
""",
    "gongzi": """# 工资发放时间
工资在每月二十五日发放。工资单可以在薪资门户下载。
""",
    "dayin": """# 设置打印机
办公网络会自动发现打印机。把工牌放在读卡器上即可取出打印的文件。
""",
    "fangke": """# 访客无线网络
访客可以在前台领取访客网络的验证码，验证码当天有效。
""",
    "diannao": """# 笔记本电脑更换
笔记本电脑每四年更换一次。损坏的设备两个工作日内更换，请把电脑和充电器带到三楼服务台。
""",
}
CHINESE_ANSWERED = {
    "怎么连接虚拟专网？": "vpn-zh",
    "在办公室外面必须用虚拟专网吗？": "vpn-zh",
    "忘记密码怎么办？": "mima",
    "请问如何重置密码": "mima",
    "我有多少天年假？": "nianjia",
    "没休完的年假可以结转吗？": "nianjia",
    "病假需要医生证明吗？": "bingjia",
    "差旅报销要在多少天内提交发票？": "baoxiao",
    "境外餐费最多报销多少？": "baoxiao",
    "机票需要谁批准？": "baoxiao",
    "工资什么时候发放？": "gongzi",
    "在哪里下载工资单？": "gongzi",
    "打印机怎么设置": "dayin",
    "访客怎么上无线网络？": "fangke",
    "笔记本电脑多久更换一次？": "diannao",
    "电脑损坏了怎么办": "diannao",
}
CHINESE_UNANSWERED = (
    "蒙古的首都是哪里？",
    "珠穆朗玛峰有多高？",
    "谁赢得了2018年的世界杯？",
    "请推荐一个红烧肉的做法",
    "公司有健身房优惠吗？",
    "食堂几点开门？",
    "怎么申请停车位？",
    "如何训练神经网络模型？",
    "今天的股票价格是多少？",
    "可以带宠物来上班吗？",
    "写一首关于大海的诗",
    "牙科保险怎么买？",
)
