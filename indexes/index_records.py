"""The indexes and collections of a corpus in its manifest.

Every function works inside the caller's transaction.
"""

from __future__ import annotations

import sqlite3

from indexes.records import CollectionInfo, IndexInfo


def list_indexes(connection: sqlite3.Connection) -> list[IndexInfo]:
    """The complete indexes, by encoder name."""
    query = "SELECT encoder, fingerprint, dimension, n_passages, collection FROM indexes ORDER BY encoder"
    rows = connection.execute(query)
    return [IndexInfo(encoder=r[0], fingerprint=r[1], dimension=r[2], n_passages=r[3], collection=r[4]) for r in rows]


def record_index(connection: sqlite3.Connection, info: IndexInfo, synced: int) -> None:
    """Makes `info` the index of its encoder; its collection holds the passages of the generation `synced`."""
    row = (info.encoder, info.fingerprint, info.dimension, info.n_passages, info.collection)
    connection.execute("INSERT OR REPLACE INTO indexes VALUES (?, ?, ?, ?, ?)", row)
    shared = (info.n_passages, info.collection)
    connection.execute("UPDATE indexes SET n_passages = ? WHERE collection = ?", shared)
    begun = (info.collection, info.encoder, info.fingerprint, synced)
    connection.execute("INSERT OR REPLACE INTO collections VALUES (?, ?, ?, ?)", begun)
    _count_index_change(connection)


def forget_index(connection: sqlite3.Connection, encoder: str) -> None:
    """Takes the index of `encoder` off the list."""
    connection.execute("DELETE FROM indexes WHERE encoder = ?", (encoder,))
    _count_index_change(connection)


def list_collections(connection: sqlite3.Connection) -> list[CollectionInfo]:
    """Every collection that was begun and not deleted, complete or not, by name."""
    rows = connection.execute("SELECT name, encoder, fingerprint, synced FROM collections ORDER BY name")
    return [CollectionInfo(name=r[0], encoder=r[1], fingerprint=r[2], synced=r[3]) for r in rows]


def begin_collection(connection: sqlite3.Connection, info: CollectionInfo) -> None:
    """Notes a collection before it is made; once is enough."""
    row = (info.name, info.encoder, info.fingerprint, info.synced)
    connection.execute("INSERT OR IGNORE INTO collections VALUES (?, ?, ?, ?)", row)


def end_collection(connection: sqlite3.Connection, name: str) -> None:
    """Notes that a collection is deleted."""
    connection.execute("DELETE FROM collections WHERE name = ?", (name,))


def _count_index_change(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE meta SET value = CAST(value AS INTEGER) + 1 WHERE key = 'index_changes'")
