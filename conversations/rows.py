"""The hot statements: many rows with one prepared statement, past the ORM.

Building a model instance and its SQL costs about ten times what the database then needs for the row, and the store
writes thousands of them a second. Tables and columns come from the models, so a migration cannot leave this behind.
Values: datetimes through `adapt_time`, UUIDs through `adapt_uuid`, JSON as text.
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeVar
from uuid import UUID

from django.db import connection, models

from conversations.models import Message

Row = tuple[Any, ...]
T = TypeVar("T")
AT_ONCE = 10_000  # values in one statement; SQLite takes 250,000, PostgreSQL 65,535


def insert(model: type[models.Model], fields: tuple[str, ...], rows: Sequence[Row], *, ignore: str = "") -> None:
    """Insert `rows` of `fields`; with `ignore`, a row whose unique field of that name is taken is left out."""
    if rows:
        with connection.cursor() as cursor:
            cursor.executemany(_insert_sql(model, fields, ignore), rows)


def update(model: type[models.Model], fields: tuple[str, ...], rows: Sequence[Row], *, where: tuple[str, ...]) -> None:
    """Set `fields` of the rows that match `where`; each row holds the new values, then those to match."""
    if rows:
        with connection.cursor() as cursor:
            cursor.executemany(_update_sql(model, fields, where), rows)


def select(
    model: type[models.Model], fields: tuple[str, ...], *, where: str, values: Sequence[Any], lock: bool = False
) -> list[Row]:
    """Return `fields` of the rows whose field `where` is among `values`, by id; with `lock`, locked in that order."""
    columns = ", ".join(_column(model, field) for field in fields)
    # SQLite's transaction is IMMEDIATE: it holds the whole database already.
    tail = " FOR UPDATE" if lock and connection.features.has_select_for_update else ""
    found: list[Row] = []
    with connection.cursor() as cursor:
        for some in slices(sorted(values)):
            marks = ", ".join(["%s"] * len(some))
            sql = f"SELECT {columns} FROM {_table(model)} WHERE {_column(model, where)} IN ({marks}) ORDER BY id{tail}"  # noqa: S608
            cursor.execute(sql, some)
            found += cursor.fetchall()
    return found


def slices(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """Cut `values` into pieces that a database takes in one statement."""
    return (values[start : start + AT_ONCE] for start in range(0, len(values), AT_ONCE))


def reserve_message_ids(count: int) -> Sequence[int]:
    """Return `count` ids that no message has or will get otherwise, ascending, above all given before."""
    table = Message._meta.db_table
    if not count:
        return ()
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT nextval(pg_get_serial_sequence(%s, 'id')) FROM generate_series(1, %s)", [table, count]
            )
            return [row[0] for row in cursor.fetchall()]
        # SQLite's AUTOINCREMENT counter; the transaction is IMMEDIATE, so nobody else moves it.
        cursor.execute("UPDATE sqlite_sequence SET seq = seq + %s WHERE name = %s RETURNING seq", [count, table])
        row = cursor.fetchone()
        if row is None:
            cursor.execute("INSERT INTO sqlite_sequence (name, seq) VALUES (%s, %s)", [table, count])
            row = (count,)
        return range(row[0] - count + 1, row[0] + 1)


def adapt_time(value: datetime | None) -> Any:
    """Return an aware time as the database driver takes it."""
    if value is None or connection.vendor == "postgresql":
        return value
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ")


def adapt_uuid(value: UUID | None) -> Any:
    """Return a UUID as the database driver takes it."""
    return value if value is None or connection.vendor == "postgresql" else value.hex


@cache
def _insert_sql(model: type[models.Model], fields: tuple[str, ...], ignore: str) -> str:
    columns = ", ".join(_column(model, field) for field in fields)
    values = ", ".join(["%s"] * len(fields))
    sql = f"INSERT INTO {_table(model)} ({columns}) VALUES ({values})"  # noqa: S608  names of models only
    return f"{sql} ON CONFLICT ({_column(model, ignore)}) DO NOTHING" if ignore else sql


@cache
def _update_sql(model: type[models.Model], fields: tuple[str, ...], where: tuple[str, ...]) -> str:
    changes = ", ".join(f"{_column(model, field)} = %s" for field in fields)
    matches = " AND ".join(f"{_column(model, field)} = %s" for field in where)
    return f"UPDATE {_table(model)} SET {changes} WHERE {matches}"  # noqa: S608  names of models only


def _table(model: type[models.Model]) -> str:
    return f'"{model._meta.db_table}"'


def _column(model: type[models.Model], field: str) -> str:
    found = model._meta.get_field(field)
    assert isinstance(found, models.Field)
    return f'"{found.column}"'
