"""What the pages' modules say, in the language of whoever looks."""

from django.utils.translation import gettext as _


def playground() -> dict[str, str]:
    """Return the playground's words; `{name}` is filled in by the page."""
    return {
        # Requests
        "connect": _("Connect"),
        "disconnect": _("Disconnect"),
        "connecting": _("Connecting…"),
        "connected": _("Connected"),
        "closed": _("Closed"),
        "refused": _("The connection was refused. A browser is not told why: look at the token, and at the server's log."),
        "call": _("Send request"),
        "stop": _("Stop"),
        "stopped": _("Stopped"),
        "broke": _("It could not be done:"),
        "frame": _("Frame"),
        "body": _("Body"),
        "in_path": _("in the path"),
        "in_query": _("in the query"),
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
        "as_shown": _("It went as the document says: {steps} steps in {seconds} s."),
        "not_as_shown": _("Step {step} did not go as the document says."),
        "other_frame": _("Another frame came:"),
        "other_answer": _("Another answer came:"),
        "other_status": _("The answer's status was {status}."),
        "was_closed": _("The connection was closed with {code}."),
        "too_long": _("Nothing came in time."),
    }
