"""What this app tells whoever put it together, from a thread that has no hub at hand."""

from django.dispatch import Signal

# Something was said or asked for, and committed, outside the gateway's own loop. Receivers get `event`: a MessageStored
# or a StopRequested.
said = Signal()

# Something of a conversation that pages show was changed and committed by staff, without words for the visitor: its
# state, a note, a contact request. Receivers get nothing more.
changed = Signal()

# Something was done that the audit trail is to tell, in the transaction of the sender, and kept only with it. Receivers
# get what `connections.audit.record` takes; no message text is in it.
recorded = Signal()
GATEWAY = "gateway"  # the actor where nobody asked for it
