"""The gateway's settings with little of SQLite's page cache, which grows with the database up to 16 MB a connection.

A small one is full at once, so that what grows afterwards is a leak.
"""

from chatgateway.settings import *  # noqa: F403  it is a settings module
from chatgateway.settings import DATABASES

if "init_command" in DATABASES["default"]["OPTIONS"]:
    DATABASES["default"]["OPTIONS"]["init_command"] += " PRAGMA cache_size=-500;"
