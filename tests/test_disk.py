"""Files that are there as a whole or not at all."""

from pathlib import Path

import pytest

from congvu.base.disk import write_safely


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    (tmp_path / "a.new").write_bytes(b"left by a crash")
    write_safely(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_new_file_replaces_none(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_safely(path, b"first", new=True)
    with pytest.raises(FileExistsError):
        write_safely(path, b"second", new=True)
    assert path.read_bytes() == b"first"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
