"""Kill a tiny `make demo` again and again at random moments, and compare what it ends with.

`python kills.py FOLDER [KILLS [ROUNDS]]` clones this repository into FOLDER, makes the demo undisturbed in one clone,
and in another one kills it (the whole process group, SIGKILL) KILLS times before it may finish, ROUNDS times. Every
round must end with the results of the undisturbed demo, and with the same files. At the end two demos run at once in
one clone.
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


def demo(folder: Path) -> subprocess.Popen[bytes]:
    """Start the demo in a clone, as the leader of a process group."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "POSE_TOPO"))}
    environment |= {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    command = ["make", "demo", f"VENV={sys.prefix}", f"CACHE={folder / 'cache'}", *TINY]
    with (folder.parent / f"{folder.name}.log").open("ab") as log:
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)


def finish(folder: Path) -> float:
    """Run the demo to its end. Returns the seconds it took."""
    begun = time.monotonic()
    code = demo(folder).wait()
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


def leftovers(folder: Path) -> str:
    """What git does not track."""
    command = ["git", "-C", str(folder), "status", "--porcelain", "--ignored"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


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
    if path.name == "report.html":  # it shows times, memory, and the number of sessions
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


def main() -> None:
    folder, kills, rounds = Path(sys.argv[1]), *(int(word) for word in [*sys.argv[2:], "20", "1"][:2])
    folder.mkdir(parents=True, exist_ok=True)
    undisturbed = clone(folder / "undisturbed")
    seconds = finish(undisturbed)
    print(f"undisturbed: {seconds:.0f} s", flush=True)
    draw, killed = random.Random(0), 0
    for number in range(rounds):
        disturbed = clone(folder / f"disturbed-{number}")
        for _ in range(kills):
            after = draw.uniform(0.5, 0.4 * seconds)
            alive = kill(disturbed, after)
            killed += alive
            print(
                f"round {number}: killed after {after:.1f} s" if alive else f"round {number}: was finished", flush=True
            )
        finish(disturbed)
        wrong = differences(undisturbed, disturbed)
        assert not wrong, wrong
        assert leftovers(disturbed) == leftovers(undisturbed)
    together = clone(folder / "together")
    both = [demo(together) for _ in range(2)]
    assert [process.wait() for process in both] == [0, 0], "two demos at once"
    wrong = differences(undisturbed, together)
    assert not wrong, wrong
    print("two demos at once ended with the results of one")
    print(f"{killed} kills, every round ended with the results of the undisturbed demo and left nothing over")


if __name__ == "__main__":
    main()
