"""A text that grows, told piece by piece."""


def added(told: str, text: str) -> str:
    """Return what `text` says beyond `told`; nothing where it does not go on from there.

    So what a turn that was taken over says anew from its beginning waits until it has said all that was told.
    """
    return text[len(told) :] if text.startswith(told) else ""
