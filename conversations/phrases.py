"""The few sentences that the gateway itself says to a visitor, in his language. Pure."""

from conversations.types import Language

FAILURE: dict[Language, str] = {
    "zh-hans": "抱歉，我暂时无法回答这个问题，请稍后再试。",
    "en": "Sorry, I cannot answer this right now. Please try again later.",
}
BUSY: dict[Language, str] = {
    "zh-hans": "抱歉，现在提问的人太多，请稍等片刻再试一次。",
    "en": "Sorry, too many questions are being answered right now. Please try again in a moment.",
}
BROKEN_OFF: dict[Language, str] = {
    "zh-hans": "（回答中断，请稍后再试。）",
    "en": "(The answer broke off here. Please try again later.)",
}
CUT: dict[Language, str] = {
    "zh-hans": "（回答超过时限，到此为止。）",
    "en": "(The answer took too long and was cut here.)",
}
FALLBACK: dict[Language, str] = {
    "zh-hans": "（语言模型暂时不可用，以下内容直接取自文档。）\n\n",
    "en": "(The language model is unavailable right now; this comes straight from the documents.)\n\n",
}
# To somebody who asks for a person: where a contact request is open, and where nobody could be told.
CALLED: dict[Language, str] = {
    "zh-hans": "您的联系请求已经记下，回复会显示在这里。",
    "en": "Your request to speak with a person has been recorded; the reply will appear here.",
}
NOBODY_TO_CALL: dict[Language, str] = {
    "zh-hans": "抱歉，这里现在无法转接人工，我只能根据文档回答问题。",
    "en": "Sorry, I cannot put you through to a person from here; I can only answer from the documents.",
}
# The same sentence may follow on the one that the documents begin with where the model has failed.
_CALLED = frozenset(lead + said for lead in ("", *FALLBACK.values()) for said in CALLED.values())
# A person and the bot take turns; `name` is the person's.
JOINED: dict[Language, str] = {
    "zh-hans": "{name}已加入对话，接下来由人工为您服务。",
    "en": "{name} has joined the conversation and will answer you from here.",
}
LEFT: dict[Language, str] = {
    "zh-hans": "{name}已离开对话，接下来由机器人回答您的问题。",
    "en": "{name} has left the conversation; the bot answers your questions again.",
}
HANDED: dict[Language, str] = {
    "zh-hans": "（接下来由人工为您服务。）",
    "en": "(A person takes over from here.)",
}
HELD: dict[Language, str] = {
    "zh-hans": "人工正在处理您的对话，您的消息已收到。",
    "en": "A person is looking after your conversation and has received your message.",
}


def is_called(text: str) -> bool:
    """Tell whether an answer only says that a person was told."""
    return text in _CALLED


def language_of(text: str) -> Language:
    """Tell the language of `text`: any Han character makes it Chinese; neither letters nor Han: Chinese."""
    latin = False
    for character in text:
        if "\u3400" <= character <= "\u9fff":
            return "zh-hans"
        latin = latin or (character.isascii() and character.isalpha())
    return "en" if latin else "zh-hans"
