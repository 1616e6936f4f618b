"""Damaged annotation files: each is read or refused in one line, and none crashes the interpreter."""

import random
import subprocess
import sys
from pathlib import Path

import pytest
from scipy.io import loadmat, savemat

CHILD = """
import random, sys
from pathlib import Path
from pose_topo.core.errors import PoseTopoError, one_line
from pose_topo.data.mpii import load_people
whole, folder, first, count = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
read = refused = 0
for seed in range(first, first + count):
    draw = random.Random(seed)
    content = bytearray(whole)
    for _ in range(draw.choice((1, 1, 1, 2, 8))):
        content[draw.randrange(128, len(content))] = draw.choice((0, 1, 5, 9, 14, 15, 17, 255, draw.randrange(256)))
    if draw.random() < 0.1:
        del content[draw.randrange(128, len(content)):]
    path = folder / "damaged.mat"
    path.write_bytes(content)
    (folder / "seed").write_text(str(seed))
    try:
        load_people(path)
        read += 1
    except PoseTopoError as error:
        assert "\\n" not in str(error)
        refused += 1
print(read, refused)
"""


def fuzz(mat: Path, folder: Path, first: int, count: int) -> tuple[int, int]:
    """Return how many of `count` damaged copies were read and how many refused; fails if the interpreter dies."""
    done = subprocess.run([sys.executable, "-c", CHILD, mat, folder, str(first), str(count)], capture_output=True)
    where = (folder / "seed").read_text()
    assert done.returncode == 0, f"seed {where}: exit code {done.returncode}; {done.stderr.decode()[-400:]}"
    read, refused = map(int, done.stdout.split())
    return read, refused


@pytest.fixture(scope="module", params=["compressed", "plain"])
def mat(request: pytest.FixtureRequest, small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered annotation file as it is, and one whose elements are not compressed, where every byte counts."""
    path = small_data / "mpii_human_pose_v1_u12_1.mat"
    if request.param == "compressed":
        return path
    plain = tmp_path_factory.mktemp("mat") / "plain.mat"
    savemat(plain, {"RELEASE": loadmat(path)["RELEASE"]}, do_compression=False)
    return plain


def test_damaged_files_never_crash(mat: Path, tmp_path: Path) -> None:
    read, refused = fuzz(mat, tmp_path, random.Random(4).randrange(1000), 60)
    assert read + refused == 60 and refused > 0


@pytest.mark.slow
def test_two_thousand_damaged_files_never_crash(mat: Path, tmp_path: Path) -> None:
    read, refused = fuzz(mat, tmp_path, 10_000, 2000)
    assert read + refused == 2000 and refused > 200
