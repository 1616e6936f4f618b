"""Files are written atomically with the user's umask, and one process at a time holds a lock."""

import errno
import fcntl
import os
import subprocess
import sys
import threading

import pytest

from pose_topo.core.errors import PoseTopoError
from pose_topo.core.files import atomic_path, locked, read_json, write_json, write_text


def mode_of(path):
    return path.stat().st_mode & 0o777


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_file_has_the_permissions_that_the_umask_allows(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        write_text(tmp_path / "file", "text")
    finally:
        os.umask(before)
    assert mode_of(tmp_path / "file") == mode


def test_threads_that_write_do_not_touch_the_umask(tmp_path, monkeypatch):
    before = os.umask(0o027)
    calls = []
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "umask", lambda mask: calls.append(mask) or 0o027)
            threads = [
                threading.Thread(target=lambda n=n: [write_text(tmp_path / f"{n}-{i}", "text") for i in range(50)])
                for n in range(4)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
    finally:
        assert os.umask(before) == 0o027
    assert calls == []
    assert {mode_of(path) for path in tmp_path.iterdir()} == {0o640} and len(list(tmp_path.iterdir())) == 200


def test_after_an_error_the_old_file_is_there_and_nothing_else(tmp_path):
    write_json(tmp_path / "a.json", {"a": 1})
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "a.json") as temporary:
        assert temporary.parent == tmp_path and temporary.suffix == ".json"
        temporary.write_text("half")
        raise RuntimeError
    assert read_json(tmp_path / "a.json") == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


KILLED = """
import contextlib, os, sys
from pose_topo.core.files import atomic_path
with contextlib.ExitStack() as stack:
    for path in sys.argv[1:]:
        stack.enter_context(atomic_path(path)).write_text("half")
    os.kill(os.getpid(), 9)
"""


def test_what_a_killed_process_left_is_removed_by_the_next_one_that_writes_there(tmp_path):
    with atomic_path(tmp_path / "of a living process") as living:
        names = (str(tmp_path / name) for name in ("figure.pdf", ".hidden", "a.b.json"))
        killed = subprocess.Popen([sys.executable, "-c", KILLED, *names])  # it stays a process until it is waited for
        os.waitid(os.P_PID, killed.pid, os.WEXITED | os.WNOWAIT)
        assert len(list(tmp_path.iterdir())) == 4
        (tmp_path / ".figure.0123456789ab.pdf").touch()  # nobody knows whose
        node, pid, _, tail = living.name.rsplit("-", 3)
        (tmp_path / f"{node}-{pid}-1-{tail}").touch()  # of an earlier process with the number of this one
        code = "import sys; from pose_topo.core.files import write_text; write_text(sys.argv[1], '')"
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "b")], check=True)
        assert {path.name for path in tmp_path.iterdir()} == {living.name, ".figure.0123456789ab.pdf", "b"}
        killed.wait()


def test_a_file_that_cannot_be_parsed_is_named(tmp_path):
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(PoseTopoError, match=r"a\.json: not readable as JSON"):
        read_json(tmp_path / "a.json")
    with pytest.raises(PoseTopoError, match=r"b\.json: no such file"):
        read_json(tmp_path / "b.json")


HOLD = """
import sys, time
from pathlib import Path
from pose_topo.core.files import locked
with locked(Path(sys.argv[1]), lambda: None):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def hold(path, seconds):
    """Another process that holds the lock."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path), str(seconds)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_a_lock_that_another_process_holds_is_announced_once_and_waited_for(tmp_path):
    process, announced = hold(tmp_path / "lock", 1), []
    with locked(tmp_path / "lock", lambda: announced.append(True)):
        assert process.wait(timeout=30) == 0  # it has left
    assert announced == [True]
    with locked(tmp_path / "lock", lambda: announced.append(True)):
        assert announced == [True]


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    process = hold(tmp_path / "lock", 100)

    def refuse():
        raise PoseTopoError("held")

    with pytest.raises(PoseTopoError, match="held"), locked(tmp_path / "lock", refuse):
        pass
    process.kill()
    process.wait()
    with locked(tmp_path / "lock", refuse):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_on_a_disk_without_locks_nothing_is_locked(tmp_path, monkeypatch, number):
    """With ENOSYS, which Lustre answers, every training was refused as the second one."""

    def refused(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refused)
    with locked(tmp_path / "lock", lambda: pytest.fail("nobody holds it")):
        assert (tmp_path / "lock").is_file()


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    tmp_path.chmod(0o555)
    try:
        if os.access(tmp_path, os.W_OK):
            pytest.skip("this user may write everywhere")
        with pytest.raises(PermissionError), locked(tmp_path / "lock", lambda: None):
            pass
    finally:
        tmp_path.chmod(0o755)
