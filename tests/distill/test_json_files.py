"""Files that grow line by line survive a kill in the middle of a line."""

from pathlib import Path

import pytest

from distill.json_files import appending, parsed, peek_records, read_records, write_records
from distill.records import Ranking
from indexes.errors import StoreError


def test_appended_records_are_there_at_once(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "records.jsonl"
    with appending(file) as append:
        append({"id": "ä"})
        assert read_records(file, dict) == [{"id": "ä"}]


def test_a_line_cut_off_by_a_kill_is_left_out_and_written_over(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    write_records(file, [{"id": 1}, {"id": 2}])
    file.write_bytes(file.read_bytes() + b'{"id": 3, "te')
    assert [record["id"] for record in read_records(file, dict)] == [1, 2]
    with appending(file) as append:
        append({"id": 3})
    assert [record["id"] for record in read_records(file, dict)] == [1, 2, 3]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    file.write_bytes(b'{"id": 1}\n\xff\x00 garbage\n{"id": 3}\n')
    with pytest.raises(StoreError, match=r"records.jsonl, line 2 is not JSON. Mend or remove it"):
        read_records(file, dict)


def test_a_file_that_does_not_exist_has_no_records(tmp_path: Path) -> None:
    assert read_records(tmp_path / "none.jsonl", dict) == []


def test_what_another_version_wrote_is_read_and_what_is_missing_is_named(tmp_path: Path) -> None:
    file = tmp_path / "rankings.jsonl"
    file.write_text('{"id": "q1", "ranking": ["a"], "taste": 3}\n{"id": "q2"}\n')
    assert peek_records(file, Ranking) == [Ranking(id="q1", ranking=("a",))]
    with pytest.raises(StoreError, match=r"line 2 is no Ranking \(ranking: Field required\)"):
        read_records(file, Ranking)


def test_a_field_that_is_damaged_reads_as_its_default_and_one_without_is_refused() -> None:
    assert parsed(Ranking, {"id": "q", "ranking": ["a"], "weight": "much"}) == Ranking(id="q", ranking=("a",))
    with pytest.raises(ValueError, match="ranking"):
        parsed(Ranking, {"id": "q", "ranking": 3, "weight": 0.5})
