"""requirements.lock: it describes this environment, satisfies pyproject.toml, and its hashes are enforced."""

import base64
import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pose_topo.commands import prepare
from pose_topo.core.errors import PoseTopoError

TEXT = """\
Torch==2.12.1 \\
    --hash=sha256:aa
    # via pose-topo (pyproject.toml)
nvidia_cublas==13.1 ; sys_platform == 'linux' \\
    --hash=sha256:bb
numpy==2.2.6 ; python_full_version < '3.11' \\
    --hash=sha256:cc
numpy==2.4.6 ; python_full_version >= '3.11' \\
    --hash=sha256:dd
"""
LINUX = {"sys_platform": "linux", "python_full_version": "3.11.2"}


def test_a_line_counts_if_its_marker_holds():
    assert prepare.locked(TEXT, LINUX) == {"torch": "2.12.1", "nvidia-cublas": "13.1", "numpy": "2.4.6"}
    old_mac = {"sys_platform": "darwin", "python_full_version": "3.10.4"}
    assert prepare.locked(TEXT, old_mac) == {"torch": "2.12.1", "numpy": "2.2.6"}


def test_a_line_that_is_not_a_requirement_is_quoted():
    with pytest.raises(PoseTopoError, match="'== 3' is no requirement"):
        prepare.locked("== 3\n")


def test_missing_and_additional_packages_are_reported():
    wanted = {"a": "1", "b": "2", "c": "3"}
    found = {"a": "1", "b": "2.1", "d": "4", "pip": "26", "pose-topo": "0"}
    assert prepare.differences(wanted, found) == [
        "1 in other versions (b 2.1 for 2)",
        "1 missing (c)",
        "1 not in the lock (d)",
    ]


def test_a_cpu_build_of_torch_needs_no_cuda_packages():
    wanted = {"torch": "2.12.1", "nvidia-cublas": "13.1", "cuda-toolkit": "13.0", "triton": "3", "tqdm": "4"}
    assert prepare.differences(wanted, {"torch": "2.12.1+cpu"}) == ["1 missing (tqdm)"]
    assert prepare.differences(wanted, {"torch": "2.12.1+cu130", "tqdm": "4"}) == [
        "3 missing (cuda-toolkit, nvidia-cublas, triton)"
    ]


def test_a_difference_is_a_note_and_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "installed", lambda: prepare.locked(prepare.LOCK.read_text()))
    assert prepare.check_lock().level == "ok"
    changed = tmp_path / "requirements.lock"
    changed.write_text(
        prepare.LOCK.read_text().replace("\ntyper==", "\nnot-there==1 \\\n    --hash=sha256:aa\ntyper==", 1)
    )
    finding = prepare.check_lock(changed)
    assert finding.level == "note" and "1 missing (not-there)" in finding.state and "make setup" in finding.state
    assert prepare.check_lock(tmp_path / "none").level == "note"


def test_this_environment_is_as_locked():
    wanted, found = prepare.locked(prepare.LOCK.read_text()), prepare.installed()
    if found.get("torch", "").partition("+")[0] != wanted["torch"]:
        pytest.skip("this environment was not made from requirements.lock")
    assert prepare.differences(wanted, found) == []


def test_the_lock_satisfies_pyproject():
    from packaging.requirements import Requirement

    if sys.version_info < (3, 11):
        import tomli as tomllib
    else:
        import tomllib
    project = tomllib.loads((prepare.LOCK.parent / "pyproject.toml").read_text())["project"]
    wanted = [Requirement(line) for line in project["dependencies"] + project["optional-dependencies"]["dev"]]
    pins = prepare.locked(prepare.LOCK.read_text())
    here = [need for need in wanted if need.marker is None or need.marker.evaluate()]
    assert [str(need) for need in here if not need.specifier.contains(pins[need.name])] == []


def make_wheel(folder: Path) -> Path:
    """A minimal wheel."""
    path, info = folder / "tiny-1-py3-none-any.whl", "tiny-1.dist-info"
    files = {
        "tiny.py": b"x = 1\n",
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: tiny\nVersion: 1\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = []
    for name, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.append(f"{name},sha256={digest},{len(data)}")
    with zipfile.ZipFile(path, "w") as wheel:
        for name, data in files.items():
            wheel.writestr(name, data)
        wheel.writestr(f"{info}/RECORD", "\n".join([*rows, f"{info}/RECORD,,", ""]))
    return path


def test_a_wheel_with_another_hash_is_refused(tmp_path):
    wheel = make_wheel(tmp_path)
    requirements = tmp_path / "requirements.lock"
    options = (Path(__file__).parents[2] / "docker" / "Dockerfile").read_text()
    strict = ["--require-hashes", "--no-deps", "--only-binary", ":all:"]
    assert " ".join(strict) in options  # what the image installs with

    def install() -> subprocess.CompletedProcess:
        target = ["--isolated", "--no-index", "--find-links", str(tmp_path), "--target", str(tmp_path / "site")]
        command = [sys.executable, "-m", "pip", "install", *strict, *target, "-r", str(requirements)]
        return subprocess.run(command, capture_output=True, text=True)

    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    requirements.write_text(f"tiny==1 --hash=sha256:{'0' * 64}\n")
    refused = install()
    assert refused.returncode != 0 and "DO NOT MATCH" in refused.stderr
    assert not (tmp_path / "site").exists()
    requirements.write_text(f"tiny==1 --hash=sha256:{digest}\n")
    assert install().returncode == 0
    assert (tmp_path / "site" / "tiny.py").is_file()
