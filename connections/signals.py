"""What this app asks of whoever put it together, from a thread that has no hub at hand."""

from django.dispatch import Signal

# Staff wants connections closed. Receivers get `event`, an EndConnections, and return whether it is on its way.
asked = Signal()
