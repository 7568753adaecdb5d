"""Who asks for a person, and who only speaks of one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conversations.escalation import LONGEST, asks_for_owner, only_asks_for_owner

ASKS = [
    "联系博主", "我想联系博主", "怎么联系博主？", "请帮我联系一下站长", "如何联系作者", "人工", "人工！", "转人工",
    "请转人工", "转接人工客服", "人工客服", "人工服务", "我要人工", "我要找人工客服", "能不能转人工",
    "可以转人工吗？", "有人工客服吗", "需要人工服务", "找博主", "我想找客服", "我想和博主聊聊",
    "能跟作者本人沟通吗", "请让博主联系我", "麻烦站长尽快回复我", "给博主留言", "我要真人客服", "跟真人聊",
    "转真人", "要不转人工吧", "我不想跟机器人聊，转人工", "聯繫博主", "轉人工", "talk to a human",
    "I want to talk to a human.", "Can I speak with a real person?", "contact the owner",
    "How can I contact the site owner?", "please connect me to an agent", "Transfer me to an operator",
    "human please", "Human", "I need a human", "get me a human agent", "I'd like to chat with customer support",
    "TALK TO A HUMAN", "I don't understand. Talk to a person", "联系\n博主",
]  # fmt: skip
SPEAKS_OF = [
    "人工智能是什么", "人工智能", "什么是人工智能？", "我要人工智能教程", "转人工智能专业难吗", "人工湖怎么走",
    "人工成本高吗", "博主是谁", "作者写了几本书", "这个博客是怎么搭建的？", "联系上下文解释", "理论联系实际",
    "不用转人工", "不要联系博主", "别转人工", "我不想联系客服", "真人版电影好看吗", "需要人工审核吗", "", "你好",
    "What is a human?", "Who is the owner?", "human rights", "Is this a human?", "artificial intelligence",
    "I don't want to talk to a human", "without talking", "no need to contact the owner",
    "How do I contact the API?", "operator overloading in C++", "user agent", "contact lenses",
]  # fmt: skip

# How to reach somebody is a question that documents may answer, and so is what stands beside a request.
ASKS_MORE = [
    "怎么联系博主？", "如何联系作者", "How can I contact the site owner?", "登录失败怎么办？转人工",
    "人工客服几点上班", "The database is locked, talk to a human", "转人工，再帮我查一下订单",
]  # fmt: skip


@pytest.mark.parametrize("text", ASKS)
def test_these_ask(text: str) -> None:
    assert asks_for_owner(text)


@pytest.mark.parametrize("text", SPEAKS_OF)
def test_these_only_speak_of_it(text: str) -> None:
    assert not asks_for_owner(text)


@pytest.mark.parametrize("text", [text for text in ASKS if text not in ASKS_MORE])
def test_these_ask_for_nothing_else(text: str) -> None:
    assert only_asks_for_owner(text)


@pytest.mark.parametrize("text", ASKS_MORE + SPEAKS_OF)
def test_these_ask_for_something_else_or_for_nobody(text: str) -> None:
    assert not only_asks_for_owner(text)


def test_a_long_paste_calls_nobody() -> None:
    assert not asks_for_owner("联系博主" + "。" * LONGEST)


@given(st.text(max_size=300) | st.text("人工转联系博主我要个位的 talkohumn", max_size=LONGEST))
def test_any_text_is_judged(text: str) -> None:
    assert asks_for_owner(text) in {True, False}
