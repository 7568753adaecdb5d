"""What the lists of this app show in a cell."""

from datetime import datetime

from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

UNITS = ("B", "kB", "MB", "GB")


def two_lines(first: str, second: str, *, title: str = "") -> SafeString:
    """Return a cell of two lines, cut to its width; `title` tells all of it."""
    whole = title or f"{first} {second}".strip()
    return format_html(
        '<span class="cell" title="{}"><span>{}</span><small>{}</small></span>', whole, first or "–", second
    )


def moment(time: datetime) -> str:
    """Return a time briefly: today's without the day."""
    local = timezone.localtime(time)
    return local.strftime("%H:%M:%S" if local.date() == timezone.localdate() else "%m-%d %H:%M")


def in_full(time: datetime) -> str:
    """Return a time with its year and seconds."""
    return timezone.localtime(time).strftime("%Y-%m-%d %H:%M:%S")


def size(number: int) -> str:
    """Return a number of bytes as people read it, such as 1.2 kB."""
    amount = float(number)
    for unit in UNITS:
        if round(amount, 1) < 1000 or unit == UNITS[-1]:
            break
        amount /= 1000
    return f"{amount:.1f} {unit}" if 0 < amount < 10 and unit != "B" else f"{amount:.0f} {unit}"
