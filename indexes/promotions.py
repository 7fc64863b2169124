"""Which encoders a corpus was to be searched with, and since when, as its manifest remembers it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from indexes.manifest import MANIFEST, transaction
from indexes.records import PromotionInfo


def list_promotions(folder: Path) -> list[PromotionInfo]:
    """Every promotion that the corpus in `folder` ever saw, withdrawn ones too, newest first."""
    query = "SELECT number, encoder, run, promoted_at, withdrawn_at FROM promotions ORDER BY number DESC"
    with transaction(folder / MANIFEST) as connection:
        rows = connection.execute(query).fetchall()
    return [PromotionInfo(number=r[0], encoder=r[1], run=r[2], promoted_at=r[3], withdrawn_at=r[4]) for r in rows]


def record_promotion(folder: Path, encoder: str, run: str) -> None:
    """Notes that `encoder` is promoted now, by `run`."""
    with transaction(folder / MANIFEST) as connection:
        row = (encoder, run, _now())
        connection.execute("INSERT INTO promotions (encoder, run, promoted_at) VALUES (?, ?, ?)", row)


def withdraw_promotions(folder: Path, first: int) -> None:
    """Notes that the promotions from number `first` on no longer count; what was withdrawn before stays so."""
    with transaction(folder / MANIFEST) as connection:
        change = "UPDATE promotions SET withdrawn_at = ? WHERE number >= ? AND withdrawn_at = ''"
        connection.execute(change, (_now(), first))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
