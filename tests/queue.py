"""The tables of the queue's database, for tests that keep their runs elsewhere."""

from __future__ import annotations

from importlib import resources

import psycopg


async def with_tables(url: str) -> None:
    folder = resources.files("quarterdeck.store") / "migrations" / "postgres"
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("create table schema_versions (version int)")
        for name in sorted(file.name for file in folder.iterdir() if file.name.endswith(".up.sql")):
            await connection.execute((folder / name).read_text().encode())
