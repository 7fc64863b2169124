"""Files that grow line by line survive a kill in the middle of a line."""

from pathlib import Path

import pytest

from distill.json_files import appending, read_records, write_records
from indexes.errors import StoreError


def test_appended_records_are_there_at_once(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "records.jsonl"
    with appending(file) as append:
        append({"id": "ä"})
        assert read_records(file) == [{"id": "ä"}]


def test_a_line_cut_off_by_a_kill_is_left_out_and_written_over(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    write_records(file, [{"id": 1}, {"id": 2}])
    file.write_bytes(file.read_bytes() + b'{"id": 3, "te')
    assert [record["id"] for record in read_records(file)] == [1, 2]
    with appending(file) as append:
        append({"id": 3})
    assert [record["id"] for record in read_records(file)] == [1, 2, 3]


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "records.jsonl"
    file.write_bytes(b'{"id": 1}\n\xff\x00 garbage\n{"id": 3}\n')
    with pytest.raises(StoreError, match=r"records.jsonl has a line that is not JSON \(line 2\)"):
        read_records(file)


def test_a_file_that_does_not_exist_has_no_records(tmp_path: Path) -> None:
    assert read_records(tmp_path / "none.jsonl") == []
