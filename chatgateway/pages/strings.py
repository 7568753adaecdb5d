"""The words of the web chat and the widget, which their modules get as JSON; in the language that is active."""

from django.utils.translation import gettext as _


def chat_strings() -> dict[str, str]:
    """Return each string by the name under which the modules know it; `{…}` is filled in there."""
    return {
        # --- The head, and how the connection is ---
        "open_chat": _("Open the chat"),
        "close_chat": _("Close the chat"),
        "connecting": _("Connecting…"),
        "live": _("Online"),
        "reconnecting": _("Reconnecting…"),
        "offline": _("You are offline. What you write is sent as soon as you are back."),
        "unread": _("{count} unread"),
        "closed": _("The chat is not available right now."),
        "reset": _("New conversation"),
        "confirm": _("Please confirm"),
        "reset_question": _("Begin a new conversation? This one will not be shown any more."),
        "yes": _("Yes"),
        "cancel": _("Cancel"),
        # --- What is said ---
        "log": _("Conversation"),
        "you": _("You"),
        "newest": _("Newest messages"),
        "assistant": _("Assistant"),
        "typing": _("Writing an answer…"),
        "empty": _("What would you like to know?"),
        "sources": _("Sources"),
        "copy": _("Copy"),
        "copied": _("Copied"),
        "stopped": _("Stopped"),
        "again": _("Try again"),
        "helpful": _("Helpful"),
        "not_helpful": _("Not helpful"),
        # --- What is sent ---
        "sending": _("Sending…"),
        "waiting": _("Waits to be sent"),
        "not_sent": _("Not sent"),
        "retry": _("Send again"),
        "remove": _("Remove"),
        "queue_full": _("Too many messages wait to be sent."),
        "message": _("Message"),
        "attached": _("Files of this message"),
        "placeholder": _("Write a message"),
        "send": _("Send"),
        "stop": _("Stop"),
        "attach": _("Attach a file"),
        "uploading": _("Uploading…"),
        "too_large": _("{name} is too large: at most {size}."),
        "wrong_kind": _("{name} is of a kind that cannot be sent."),
        "not_uploaded": _("{name} could not be uploaded."),
        "image": _("Picture"),
        "file": _("File"),
        "human": _("Talk to a human"),
        "human_question": _("Leave a message for a person? The reply will appear here."),
        "human_words": _("I would like to talk to a human."),
        # --- What went wrong ---
        "not_loaded": _("Earlier messages could not be loaded yet."),
        "not_done": _("That did not work. Please try again."),
    }
