"""The few sentences that the gateway itself says to a visitor, in his language. Pure."""

from conversations.types import Language

FAILURE: dict[Language, str] = {
    "zh-hans": "抱歉，我暂时无法回答这个问题，请稍后再试。",
    "en": "Sorry, I cannot answer this right now. Please try again later.",
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


def language_of(text: str) -> Language:
    """Tell the language of `text`: any Han character makes it Chinese; neither letters nor Han: Chinese."""
    latin = False
    for character in text:
        if "\u3400" <= character <= "\u9fff":
            return "zh-hans"
        latin = latin or (character.isascii() and character.isalpha())
    return "en" if latin else "zh-hans"
