"""Kill a tiny `make demo` again and again at random moments, and compare what it ends with.

`python kills.py FOLDER [KILLS]` clones this repository into FOLDER and makes the demo undisturbed in one clone. In
others it kills the demo (the whole process group, SIGKILL) again and again until it is finished, KILLS times in all.
Each must end with the results of the undisturbed demo, and with the same files. At the end two demos run at once in one
clone.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
# one network with the topographic layer and its control, of one epoch on a few people
TINY = ["DEMO_PEOPLE=60", "ARMS=control topo", "SEEDS=0", "EPOCHS=1", "LESION_ARMS="]


def clone(folder: Path) -> Path:
    """A checkout of the working tree with nothing in it that git ignores."""
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(folder)], check=True)
    changed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", "--modified", "--others", "--exclude-standard"],
        capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    for name in filter(None, changed):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
    return folder


def demo(folder: Path, *more: str) -> subprocess.Popen[bytes]:
    """Start the demo in a clone, as the leader of a process group. `more`: further arguments of make."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "POSE_TOPO"))}
    environment |= {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    command = ["make", "demo", f"VENV={sys.prefix}", f"CACHE={folder / 'cache'}", *TINY, *more]
    with (folder.parent / f"{folder.name}.log").open("ab") as log:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)


def finish(folder: Path, *more: str) -> float:
    """Run the demo to its end. Returns the seconds it took."""
    begun = time.monotonic()
    code = demo(folder, *more).wait()
    assert code == 0, (folder.parent / f"{folder.name}.log").read_text()[-2000:]
    return time.monotonic() - begun


def kill(folder: Path, seconds: float) -> bool:
    """Run the demo for so many seconds and kill it. Returns whether it was still running."""
    process = demo(folder)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True
    return False


def leftovers(folder: Path) -> list[str]:
    """What git does not track."""
    command = ["git", "-C", str(folder), "status", "--porcelain", "--ignored"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [line for line in lines if line.startswith(("??", "!!"))]


def content(folder: Path) -> dict[str, str]:
    """A hash of every file that the demo wrote, without times and the memory used."""
    found = {}
    for top in ("data", "runs", "out", "cache"):
        for path in sorted((folder / top).rglob("*")):
            if path.is_file():
                # the name of a crop store depends on when the photographs were written
                name = re.sub(r"crops/[0-9a-f]{20}", "crops/key", path.relative_to(folder).as_posix())
                found[name] = hashlib.sha256(_settled(path)).hexdigest()
    return found


def _settled(path: Path) -> bytes:
    if path.name in ("last.pt", "best.pt"):
        import torch

        saved = torch.load(path, map_location="cpu", weights_only=True)
        return b"".join(value.numpy().tobytes() for value in saved["model"].values())
    if path.name == "metrics.csv":  # its last two columns are the speed and the seconds
        return b"\n".join(line.rsplit(b",", 2)[0] for line in path.read_bytes().splitlines())
    if path.name == "provenance.json":
        sessions = json.loads(path.read_text())["sessions"]
        return json.dumps([sessions[-1][key] for key in ("commit", "data_sha256", "seed", "precision")]).encode()
    if path.suffix == ".mk":  # it says which lists have to be written
        return path.read_bytes().replace(b" FORCE", b"")
    if path.name == "report.html" or path.suffix == ".times":  # they show times, memory, and the number of sessions
        return b""
    if path.name == "claims.json":
        claims = json.loads(path.read_text())
        return json.dumps([{**claim, "cost": None} for claim in claims["claims"]]).encode()
    if path.name in ("evaluation.json", "analysis.json"):  # a checkpoint holds its time, too
        return json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "checkpoint_sha256"}).encode()
    return path.read_bytes()


def differences(one: Path, other: Path) -> list[str]:
    """The files in which two finished demos differ."""
    a, b = content(one), content(other)
    return sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))


def disturb(undisturbed: Path, seconds: float, kills: int) -> int:
    """Make demos that are killed again and again, until there were so many kills. Returns the number of demos.

    Raises:
        AssertionError: one of them ended with something else than the undisturbed one.
    """
    draw, killed, demos = random.Random(0), 0, 0
    while killed < kills:
        disturbed = clone(undisturbed.parent / f"disturbed-{demos}")
        demos += 1
        while killed < kills and kill(disturbed, after := draw.uniform(0.5, 0.2 * seconds)):
            killed += 1
            print(f"{disturbed.name}: killed after {after:.1f} s", flush=True)
        finish(disturbed)
        compare(undisturbed, disturbed)
    return demos


def compare(undisturbed: Path, other: Path) -> None:
    wrong = differences(undisturbed, other)
    assert not wrong, wrong
    assert leftovers(other) == leftovers(undisturbed)


def main() -> None:
    folder, kills = Path(sys.argv[1]), int([*sys.argv[2:], "20"][0])
    folder.mkdir(parents=True, exist_ok=True)
    undisturbed = clone(folder / "undisturbed")
    seconds = finish(undisturbed)
    print(f"undisturbed: {seconds:.0f} s", flush=True)
    demos = disturb(undisturbed, seconds, kills)
    print(f"{kills} kills, {demos} finished demos: each has the results of the undisturbed one, and left nothing over")
    together = clone(folder / "together")
    both = [demo(together) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0], "two demos at once"
    compare(undisturbed, together)
    print("two demos at once ended with the results of one")


if __name__ == "__main__":
    main()
