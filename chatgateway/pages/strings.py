"""The words of the chat and of the playground, which their modules get as JSON; in the language that is active."""

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
        "earlier": _("Earlier messages"),
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
        "too_long": _("A message has {most} characters at most; this one has {count}."),
        "queue_full": _("Too many messages wait to be sent."),
        "message": _("Message"),
        "attached": _("Files of this message"),
        "placeholder": _("Write a message"),
        "send": _("Send"),
        "stop": _("Stop"),
        "attach": _("Attach a file"),
        "uploading": _("Uploading…"),
        "refused_kind": _("{name} is of a kind that cannot be sent."),
        "refused_empty": _("{name} is empty."),
        "refused_large": _("{name} is too large: at most {size}."),
        "refused_damaged": _("{name} is damaged."),
        "refused_pixels": _("{name} has too many pixels."),
        "refused_unpacks": _("{name} holds too much once it is unpacked."),
        "not_uploaded": _("{name} could not be uploaded."),
        "files_pending": _("Some files are not there yet: wait, try them again or remove them."),
        "too_many_files": _("At most {count} files go with one message."),
        "image": _("Picture"),
        "file": _("File"),
        "human": _("Talk to a human"),
        "human_question": _("Ask for a person? The reply will appear here."),
        "human_words": _("I would like to talk to a human."),
        # --- What went wrong ---
        "not_loaded": _("Earlier messages could not be loaded yet."),
        "not_done": _("That did not work. Please try again."),
    }


def playground_strings() -> dict[str, str]:
    """Return the playground's words; `{name}` is filled in by the page."""
    return {
        # Requests
        "connect": _("Connect"),
        "disconnect": _("Disconnect"),
        "connecting": _("Connecting…"),
        "connected": _("Connected"),
        "closed": _("Closed"),
        "refused": _(
            "The connection was refused. A browser is not told why: look at the token, and at the server's log."
        ),
        "call": _("Send request"),
        "send": _("Send frame"),
        "stop": _("Stop"),
        "stopped": _("Stopped"),
        "broke": _("It could not be done:"),
        "frame": _("Frame"),
        "body": _("Body"),
        "in_path": _("in the path"),
        "json": _("JSON"),
        "no_json": _("Not JSON; it is sent as it is"),
        # The log
        "sent": _("Sent"),
        "received": _("Received"),
        "note": _("Note"),
        "failed": _("Failed"),
        "rows": _("Rows: {count}"),
        "dropped": _("older ones dropped: {count}"),
        "copied": _("Copied"),
        "not_copied": _("Not allowed"),
        # The document's conversation
        "run": _("Run the document's conversation"),
        "running": _("Running…"),
        "do_connect": _("Connect"),
        "do_send": _("Send"),
        "do_expect": _("Wait for"),
        "do_closed": _("Wait for the close with"),
        "do_call": _("Call"),
        "state_waiting": _("to come"),
        "state_running": _("under way"),
        "state_done": _("as the document says"),
        "state_failed": _("not as the document says"),
        "state_left": _("left out"),
        "as_shown": _("It went as the document says: {steps} steps in {seconds} s."),
        "not_as_shown": _("Step {step} did not go as the document says."),
        "other_frame": _("Another frame came:"),
        "other_answer": _("Another answer came:"),
        "other_status": _("The answer's status was {status}."),
        "was_closed": _("The connection was closed with {code}."),
        "too_long": _("Nothing came in time."),
    }
