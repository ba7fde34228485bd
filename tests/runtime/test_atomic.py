"""Files appear whole or not at all, and what is there already stays what it is: a pipe, a link, a private file."""

import os
import stat
import threading
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from latentwire.runtime.atomic import whole_file
from latentwire.runtime.cli import main
from latentwire.runtime.errors import InputFileError

posix = pytest.mark.skipif(os.name == "nt", reason="pipes, links and permissions of POSIX")


def written(path: Path, data: bytes) -> None:
    with whole_file(path) as file:
        file.write(data)


@posix
def test_a_pipe_is_written_through(tmp_path: Path) -> None:
    pipe, found = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    written(pipe, b"packet")
    reader.join(10)
    assert found == [b"packet"] and stat.S_ISFIFO(pipe.stat().st_mode)
    assert os.listdir(tmp_path) == ["pipe"]


@pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="a system without names for open files")
def test_a_pipe_without_a_name_is_written_through() -> None:
    reader, writer = os.pipe()
    written(Path(f"/dev/fd/{writer}"), b"packet")
    os.close(writer)
    with open(reader, "rb") as file:
        assert file.read() == b"packet"


@posix
def test_a_link_stays_one_and_its_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "file", tmp_path / "link"
    target.write_bytes(b"before")
    link.symlink_to(target)
    written(link, b"after")
    assert link.is_symlink() and target.read_bytes() == b"after"
    dangling = tmp_path / "dangling"
    dangling.symlink_to(tmp_path / "there" / "new")
    written(dangling, b"new")
    assert dangling.is_symlink() and (tmp_path / "there" / "new").read_bytes() == b"new"


@posix
def test_permissions_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    path.chmod(0o600)
    written(path, b"after")
    assert path.read_bytes() == b"after" and stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_was_there_stays_where_the_new_one_fails(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with pytest.raises(ZeroDivisionError), whole_file(path) as file:
        file.write(b"half")
        raise ZeroDivisionError
    assert path.read_bytes() == b"before" and list(tmp_path.iterdir()) == [path]
    with pytest.raises(InputFileError, match="expected a file, found a folder"):
        written(tmp_path, b"")


@posix
def test_a_result_never_replaces_its_source(tmp_path: Path) -> None:
    source, other = tmp_path / "items.npy", tmp_path / "same.npy"
    np.save(source, np.zeros((2, 784), np.uint8))
    before = source.read_bytes()
    other.symlink_to(source)
    for target in (source, other):
        done = CliRunner().invoke(main, ["encode", "mnist", str(source), "-o", str(target)])
        assert done.exit_code == 2 and "expected a result beside its source" in done.output
    assert source.read_bytes() == before


def test_an_empty_file_is_no_stream_of_packets(tmp_path: Path) -> None:
    empty, result = tmp_path / "empty.lw", tmp_path / "items.npy"
    empty.touch()
    result.write_bytes(b"older")
    for form in ("npy", "raw"):
        done = CliRunner().invoke(main, ["decode", "mnist", str(empty), "-o", str(result), "--format", form])
        assert done.exit_code == 3 and "expected packets, found an empty file" in done.output
    assert result.read_bytes() == b"older"
