"""The device for each name, where two GPUs are simulated, and the commit of the code."""

import subprocess
from pathlib import Path

import pytest
import torch

from pose_topo.core.errors import UsageError
from pose_topo.core.machine import is_out_of_memory, pick_device, revision

GIT = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost"]


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.parametrize(("name", "number"), [("auto", 0), ("cuda", 0), ("cuda:0", 0), ("cuda:1", 1)])
def test_a_gpu_has_its_number(two_gpus, name, number):
    device = pick_device(name)
    assert device == torch.device("cuda", number)
    assert torch.cuda._utils._get_device_index(device) == number  # as `torch.cuda.set_device` requires


@pytest.mark.parametrize("name", ["cuda:2", "gpu", "cuda:x", "cuda:-1", ""])
def test_a_missing_or_unknown_device_is_refused(two_gpus, name):
    with pytest.raises(UsageError, match=rf"--device {name}: "):
        pick_device(name)


def test_without_a_gpu_the_cpu_is_used_with_a_warning(monkeypatch, said: list[str]):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == pick_device("cpu") == torch.device("cpu")
    assert said == []
    assert pick_device("cuda:3") == torch.device("cpu") and "no CUDA here" in said[0]


def test_a_full_memory_is_recognised_in_the_errors_of_all_libraries():
    for words in (
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "CUDA error: out of memory",
        "FIND was unable to find an engine to execute this computation after trying 12 plans.",
    ):
        assert is_out_of_memory(RuntimeError(words))
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 3 GiB"))
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))


# ---- the commit: from git, or from the file REVISION of an archive or an image


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("abc123\n", {"commit": "abc123", "dirty": False}),
        ("abc123-dirty\n", {"commit": "abc123", "dirty": True}),
        ("\n", {"commit": None, "dirty": False}),
    ],
)
def test_the_file_revision_names_the_commit(tmp_path, text, expected):
    (tmp_path / "REVISION").write_text(text)
    assert revision(tmp_path) == expected


def test_without_the_file_git_names_the_commit(tmp_path):
    def git(*arguments: str) -> str:
        return subprocess.run([*GIT, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    git("init", "-q")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-qm", "a")
    head = git("rev-parse", "HEAD").strip()
    assert revision(tmp_path) == {"commit": head, "dirty": False}
    Path(tmp_path / "a").write_text("2")
    assert revision(tmp_path) == {"commit": head, "dirty": True}
    (tmp_path / "copied").mkdir()  # into another project's repository
    assert revision(tmp_path / "copied") == {"commit": None, "dirty": None}
