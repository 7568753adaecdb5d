"""The settings of the tests' own process: the project's, in a folder of their own, on SQLite or PostgreSQL.

`TEST_DATABASE=postgres` runs the database tests on a real PostgreSQL.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from tests.support.databases import PostgresServer
from tests.support.environment import plain_environment

_folder = Path(tempfile.mkdtemp(prefix="gateway-tests-"))
atexit.register(shutil.rmtree, _folder, ignore_errors=True)
os.environ.update(plain_environment(_folder))
if os.environ.get("TEST_DATABASE") == "postgres":
    _postgres = PostgresServer()
    _postgres.start()
    atexit.register(_postgres.close)
    os.environ["DATABASE_URL"] = _postgres.create_database()

from chatgateway.settings import *

if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # A file, as in production: in memory SQLite knows neither WAL nor a second thread's waiting.
    DATABASES["default"]["TEST"] = {"NAME": str(_folder / "test.sqlite3")}
# Tests log many users in; a slow hash protects nobody here.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
