"""Whether somebody asks for a person: the owner, an operator, anybody who is not a machine. Pure.

A phrase counts where it is a request ("转人工", "talk to a human"), not where it is a topic ("人工智能是什么") or is
waved off ("不用转人工").
"""

import re

LONGEST = 1000  # characters; a longer text is something pasted, not a call for somebody

_OWNER = "(?:博主|站长|作者|楼主|店主|商家|卖家|老板|管理员|负责人|主人|客服)"
# What may follow 人工 or 真人 where it means a person: the end, a particle, or what the person is to do.
_PERSON_ENDS = (
    r"(?=$|[\W_]|客服|服务|坐席|座席|接听|回复|吧|吗|嘛|么|了|啊|呀|呢|哦|谢|来|帮|聊|谈|沟通|对话|解答|的?话)"
)
_SOME = r"(?:\s|一下|一?个|一?位|到|成|给|你们的?|您的?|你的?|我)*"
_CHINESE = (
    rf"(?:联系|联络){_SOME}(?:{_OWNER}|真人|人工)(?!智能)",
    rf"(?:找|叫|喊|呼叫|呼唤|请出){_SOME}{_OWNER}(?!端)",
    rf"(?:跟|和|与|同){_SOME}{_OWNER}(?:本人)?(?:直接)?(?:聊|谈|说|讲|沟通|交流|对话|通话|联系)",
    rf"(?:让|请|叫|麻烦|希望){_SOME}{_OWNER}(?:本人|亲自|尽快|快点|直接|抽空|能|来|跟|和|给|我)*(?:联系|回复|回电|回我|找我|加我)",
    rf"给{_OWNER}(?:留言|写信|发消息|发邮件|带话|传话)",
    rf"(?:转接?|切换?|找|接入?|换|要|叫|呼叫|需要|请求|有|是){_SOME}(?:人工|真人|活人){_PERSON_ENDS}",
    rf"(?:跟|和|与|同){_SOME}(?:真人|活人|人工){_PERSON_ENDS}",
    r"^\W*(?:请|帮我|麻烦)?(?:人工|真人)(?:客服|服务|坐席|座席)?(?:吧|谢谢|在吗|在么|呢|啊|呀)?\W*$",
)
_A_HUMAN = (
    r"(?:(?:an?|the|some|any|your|real|actual|live|human|other|site|blog|shop|store|website)\s+)*"
    r"(?:human(?:\s+being)?s?|persons?|people|agents?|operators?|representatives?|rep|somebody|someone|owner|author|"
    r"blogger|webmaster|admin(?:istrator)?|manager|staff|support|customer\s+(?:service|support|care))\b"
)
_ENGLISH = (
    rf"\b(?:talk|speak|chat|connect|connected|write)(?:\s+(?:me|us|directly))?\s+(?:to|with)\s+{_A_HUMAN}",
    rf"\b(?:contact|reach|notify|message|e-?mail)\s+(?:the|your|this|a|an)\s+{_A_HUMAN}",
    rf"\b(?:transfer|put|pass|connect|escalate|switch)\s+(?:me\s+|us\s+|this\s+|it\s+)?(?:through\s+|over\s+)?to\s+{_A_HUMAN}",
    (
        r"\b(?:i\s+(?:want|need)|give\s+me|get\s+me|i(?:'|’)d\s+like|i\s+would\s+like)\s+(?:an?\s+)?"
        r"(?:real|actual|live|human)\s+(?:person|human|agent|operator|being|support)\b"
    ),
    r"\b(?:i\s+(?:want|need)|give\s+me|get\s+me)\s+an?\s+human\b(?!\s+\w)",
    r"^\W*(?:a\s+)?(?:human|real\s+person|live\s+agent|human\s+agent|operator)(?:,?\s+please)?\W*$",
)
_ASKS = re.compile("|".join((*_CHINESE, *_ENGLISH)), re.IGNORECASE)
_WAVED_OFF = re.compile(
    r"(?:不用|不想|不需要|不必|无需|无须|没必要|不打算|(?<!要)不要|(?<!能|行|好|要)不|别|勿)(?:再|去|给我|帮我|替我|马上|急着)?$"
    r"|\b(?:don['’]?t|do\s+not|didn['’]?t|no\s+need|never|without|instead\s+of|rather\s+not)"
    r"(?:\s+(?:want|need|wish|like|have))?(?:\s+to)?\s*$",
    re.IGNORECASE,
)
# What may stand beside a request and asks for nothing else.
_BESIDE = re.compile(
    r"[\W_]+|[请帮给让我您你们要想能可以不吗吧呢啊呀嘛么的了就还]|你好|您好|谢谢|多谢|麻烦|希望|需要|马上|现在|立刻|尽快|直接|一下"
    r"|(?:跟|和|与)?机器人|聊天?|说话?|客服|服务|坐席|座席"
    r"|\b(?:hi|hello|please|thanks?|thank|can|could|may|would|i|we|you|me|us|to|want|need|like|now|just|directly|d"
    r"|right|away|am|m|let|this|chat|not|don|t|understand|bot|robot|machine|with|a|the|help)\b",
    re.IGNORECASE,
)
_SIMPLE = str.maketrans("聯繫絡轉務闆來員樓請給與無須", "联系络转务板来员楼请给与无须")


def asks_for_owner(text: str) -> bool:
    """Tell whether `text` asks to be put through to the owner, or to anybody human."""
    if len(text) > LONGEST:
        return False
    said = _simple(text)
    return any(not _WAVED_OFF.search(said[: found.start()]) for found in _ASKS.finditer(said))


def only_asks_for_owner(text: str) -> bool:
    """Tell whether `text` asks to be put through and asks nothing else; how to reach somebody is a question."""
    return asks_for_owner(text) and not _BESIDE.sub("", _ASKS.sub(" ", _simple(text)))


def _simple(text: str) -> str:
    return " ".join(text.translate(_SIMPLE).split())
