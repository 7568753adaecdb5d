"""What this app tells whoever put it together, from a thread that has no hub at hand."""

from django.dispatch import Signal

# Something was said or asked for, and committed, outside the gateway's own loop. Receivers get `event`: a MessageStored
# or a StopRequested.
said = Signal()
