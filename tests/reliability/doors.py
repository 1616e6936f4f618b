"""Damaged files for every door through which a file comes in.

`python doors.py DOOR FIRST COUNT FOLDER` gives the door the damaged files of the seeds FIRST, FIRST + 1, ... and prints
how many were read and how many refused, and the peak memory. It runs as a process of its own, because a reader in C may
crash the interpreter. It ends with an error if an input is answered with anything but a `PoseTopoError` of one line,
takes longer than `SECONDS`, or starts a program. `python doors.py` does this for all doors, and writes the table of
docs/reliability.md.
"""

from __future__ import annotations

import copy
import io
import json
import math
import os
import random
import re
import signal
import struct
import subprocess
import sys
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import h5py
import numpy as np
import torch
from scipy.io import loadmat, savemat

TESTS = Path(__file__).resolve().parent.parent
sys.path += [str(TESTS / "data"), str(TESTS / "paper_figures")]

import made_up_results  # noqa: E402  # found by the line above
import test_coco  # noqa: E402
import test_lsp  # noqa: E402

from paper_figures.lib.command import Inputs, exhibits  # noqa: E402
from paper_figures.lib.costs import load_provenance  # noqa: E402
from paper_figures.lib.results import load  # noqa: E402
from pose_topo.core.errors import PoseTopoError, one_line  # noqa: E402
from pose_topo.data import coco, lsp, mpii  # noqa: E402
from pose_topo.data.crops import network_input, read_photograph, whole  # noqa: E402
from pose_topo.models.foreign import convert  # noqa: E402
from pose_topo.rendering.folder import MAT_NAME, render_dataset  # noqa: E402
from pose_topo.scoring.predictions import read_predictions, read_record, write_predictions  # noqa: E402
from pose_topo.stages.compare import analyze_group, compare, same_people  # noqa: E402
from pose_topo.stages.evaluate import evaluate_predictions  # noqa: E402
from pose_topo.study import runs  # noqa: E402
from pose_topo.study.config import Data, RunConfig, Topography  # noqa: E402
from pose_topo.study.protocols import DEMO, PAPER  # noqa: E402
from pose_topo.study.results import read_document, read_documents  # noqa: E402

SECONDS, WAITING = 20, 600  # for one input: of computing, and in all
INPUTS = 1000  # per door
MOST_MEMORY = 2e9  # bytes
PAGE = TESTS.parent / "docs" / "reliability.md"
PROGRAMS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "socket.connect")

Give = Callable[[random.Random], object]  # damages a file as the random numbers say, and reads it


# ---- damage


def flipped(draw: random.Random, content: bytes, first: int = 0) -> bytes:
    """Bytes with up to eight of them changed, from place `first` on. One in ten is also cut."""
    damaged = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 8))):
        damaged[draw.randrange(first, len(damaged))] = draw.choice(
            (0, 1, 5, 9, 14, 15, 17, 127, 255, draw.randrange(256))
        )
    if draw.random() < 0.1:
        del damaged[draw.randrange(first, len(damaged)) :]
    return bytes(damaged)


STRANGE = [None, True, -1, 3.5, 1e308, 10**30, 10**400, math.nan, math.inf, "", "5", "../..", "\ud800", "a\nb\x1b[2J",
           [], {}, [[]], [1, 2], {"id": 1}, "x" * 20_000, 2**31, 0]  # fmt: skip


def places(node: Any) -> list[tuple[Any, Any]]:
    """Every container of a JSON value with each of its keys."""
    keys = range(len(node)) if isinstance(node, list) else list(node) if isinstance(node, dict) else ()
    return [(node, key) for key in keys] + [place for key in keys for place in places(node[key])]


def mutated(draw: random.Random, content: Any) -> str:
    """A damaged copy of JSON: values replaced, removed, doubled, or nested deeply; sometimes the text is cut."""
    changed = copy.deepcopy(content)
    for _ in range(draw.choice((1, 1, 1, 2, 5))):
        if not (found := places(changed)):
            break
        node, key = draw.choice(found)
        kind = draw.randrange(5)
        if kind <= 1:
            node[key] = copy.deepcopy(draw.choice(STRANGE))
        elif kind == 2:
            del node[key]
        elif kind == 3:
            node[key] = [node[key], copy.deepcopy(node[key])]
        else:
            node[key] = "deep"
    depth = draw.choice((3, 300, 900, 5000, 200_000))
    text = json.dumps(changed).replace('"deep"', "[" * depth + "]" * depth)
    if draw.random() < 0.05:
        text = re.sub(r"\d{3,}", "1" * 5000, text, count=1)
    return text[: draw.randrange(len(text))] if draw.random() < 0.05 else text


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", errors="surrogatepass")
    return path


def strange_array(draw: random.Random, array: np.ndarray) -> Any:
    """An array of another shape or type, or with values that are no coordinates."""
    other = array.astype(float) if array.dtype.kind in "fiub" else np.zeros(array.shape)
    if other.size and draw.random() < 0.4:
        other = other.copy()
        other.flat[draw.randrange(other.size)] = draw.choice((math.nan, math.inf, -1e308, 1e18, -1, 1e9))
        return other
    return draw.choice((
        lambda: other[:0], lambda: other[1:], lambda: other.T, lambda: other[..., None], lambda: other.ravel(),
        lambda: 3.0, lambda: other + 1j, lambda: np.full(array.shape, b"text"), lambda: other > 0,
        lambda: other.astype("f2"), lambda: np.zeros(array.shape, [("x", "f8")]), lambda: other[..., :1],
        lambda: np.repeat(other, 3, axis=0) if other.ndim else other, lambda: other.astype(np.int8),
    ))()  # fmt: skip


# ---- doors: each prepares its files in a folder, and returns what one input does


def mpii_annotation(folder: Path) -> Give:
    """MPII's .mat, compressed as it is, and as a file whose elements are not compressed, where every byte counts."""
    render_dataset(folder / "data", people=16, seed=5, workers=1, progress=False)
    packed = folder / "data" / MAT_NAME
    savemat(folder / "plain.mat", {"RELEASE": loadmat(packed)["RELEASE"]}, do_compression=False)
    return annotations(folder, packed.read_bytes(), (folder / "plain.mat").read_bytes())


def real_annotation(folder: Path) -> Give:
    """The small annotation file with real people, as it is and with its one variable unpacked."""
    packed = (Path(os.environ["POSE_TOPO_REAL_DATA"]) / "mini-mpii" / MAT_NAME).read_bytes()
    return annotations(folder, packed, packed[:128] + zlib.decompress(packed[136:]))


def annotations(folder: Path, *files: bytes) -> Give:
    """Files in MPII's layout."""

    def give(draw: random.Random) -> None:
        (folder / "damaged.mat").write_bytes(flipped(draw, draw.choice(files), draw.choice((0, 128))))
        mpii.load_people(folder / "damaged.mat")

    return give


def lspet_annotation(folder: Path) -> Give:
    """LSPET's joints.mat."""
    path = test_lsp.write(folder / "joints.mat", test_lsp.three_people())
    savemat(folder / "plain.mat", {"joints": test_lsp.three_people()}, do_compression=False)
    both = path.read_bytes(), (folder / "plain.mat").read_bytes()

    def give(draw: random.Random) -> None:
        path.write_bytes(flipped(draw, draw.choice(both), draw.choice((0, 128))))
        people, _ = lsp.load_people(path)
        assert np.isfinite(people.center).all() and (people.scale > 0).all()

    return give


def coco_annotation(folder: Path) -> Give:
    """A keypoint file in COCO's format."""
    person, flags = test_coco.person, test_coco.flags
    content = test_coco.content(
        person(), person(image=2, bbox=...), person(image=2, iscrowd=1), person(keypoints=flags((5, 0)))
    )

    def give(draw: random.Random) -> None:
        path = written(folder / "annotations.json", mutated(draw, content))
        people, counts = coco.load_people(path)
        assert counts.kept == len(people) > 0 and np.isfinite(people.center).all() and (people.scale > 0).all()
        assert np.isfinite(people.joints[people.labelled]).all() and len(people.sha256()) == 64
        assert all(Path(name).name == name for name in people.names)
        coco.areas(path, people)

    return give


def predictions(folder: Path) -> Give:
    """predictions.h5 of this project, and the files of other systems, .h5 and .mat."""
    rng, people = np.random.default_rng(0), 7
    joints = rng.uniform(1, 500, (people, 16, 2))
    arrays = {
        "joints": joints, "labelled": rng.random((people, 16)) < 0.9, "head_box": joints[:, :2].reshape(people, 4),
        "annolist_index": np.arange(people), "person": np.zeros(people, int), "image_size": joints[:, 0],
        "image": np.array([f"{k}.jpg" for k in range(people)]),
    }  # fmt: skip
    good, path = folder / "good.h5", folder / "preds.h5"
    write_predictions(good, joints, **arrays)
    savemat(folder / "good.mat", {"preds": joints + 1}, do_compression=False)
    both = good.read_bytes(), (folder / "good.mat").read_bytes()
    reference = read_record(good)

    def strange(draw: random.Random) -> None:
        path.write_bytes(both[0])
        with h5py.File(path, "r+") as file:
            name = draw.choice(["preds", "preds", *arrays])
            array = np.asarray(file[name])
            del file[name]
            kind = draw.randrange(10)
            if kind == 0:  # a header that promises terabytes
                file.create_dataset(name, (10 ** draw.randrange(6, 13), *array.shape[1:]), "f8", chunks=True)
            elif kind == 1:
                file[name] = draw.choice((h5py.Empty("f8"), h5py.SoftLink("/nowhere"), h5py.SoftLink(f"/{name}")))
            elif kind == 2:
                file.create_group(name)
            elif kind > 3:
                file[name] = strange_array(draw, array)

    def give(draw: random.Random) -> None:
        nonlocal path
        path = folder / f"preds.{'mat' if (mat := draw.random() < 0.25) else 'h5'}"
        if mat or draw.random() < 0.4:
            path.write_bytes(flipped(draw, both[mat]))
        else:
            strange(draw)
        if mat:
            read_predictions(path)
            return
        evaluate_predictions(path, path)
        evaluate_predictions(path, good)
        compare(*same_people(reference, read_record(path), good, path), resamples=9)

    return give


def checkpoints(folder: Path) -> Give:
    """.pt files of this project and of others, as zip and as a plain pickle, and .safetensors."""
    config = runs.plain(RunConfig("resnet18", DEMO, Data("a.mat", "images"), Topography()))
    weights = {"head.weight": torch.ones(2, 3), "head.bias": torch.zeros(2)}
    training = {"optimizer": {}, "history": [{"epoch": 1}], "best": 1.0, "waited": 0, "best_epoch": 1, "step": 1,
                "sessions": [], "processes": 1, "begun": None, "generator": torch.zeros(8, dtype=torch.uint8),
                "cuda_generator": None}  # fmt: skip
    own = {"format": runs.FORMAT, "config": config, "epoch": 1, "model": weights, "split_sha256": "0"}
    files = []
    for content in (own | {"training": training}, {"state_dict": {"conv1.weight": torch.ones(4), "x": 1.5}}, weights):
        for zipped in (True, False):
            packed = io.BytesIO()
            torch.save(content, packed, _use_new_zipfile_serialization=zipped)
            files.append(("pt", packed.getvalue()))
    torch.save(own, folder / "own.pt")
    runs.save_safetensors(folder / "own.safetensors", runs.load_checkpoint(folder / "own.pt"))
    files += [("safetensors", (folder / "own.safetensors").read_bytes())] * 2
    evil = b"cos\nsystem\n(S'touch %s'\ntR." % str(folder / "executed").encode()

    def give(draw: random.Random) -> None:
        suffix, content = draw.choice(files)
        if suffix == "pt" and draw.random() < 0.1:
            content = draw.choice((evil, content[:2] + evil, evil + content))
        elif suffix == "pt" and draw.random() < 0.4:  # settings and parts of another type
            changed = copy.deepcopy(own | {"training": training})
            node, key = draw.choice(places(changed))
            node[key] = copy.deepcopy(draw.choice(STRANGE))
            packed = io.BytesIO()
            torch.save(changed, packed)
            content = packed.getvalue()
        else:
            content = flipped(draw, content)
        path = folder / f"checkpoint.{suffix}"
        path.write_bytes(content)
        read = runs.read_content(path)
        if runs.is_ours(read):
            runs.parse_checkpoint(path, read)
        else:
            convert(read, path.name)
        assert not (folder / "executed").exists()

    return give


def configs(folder: Path) -> Give:
    """config.json of a run."""
    whole_configs = [
        runs.plain(RunConfig("resnet18", DEMO, Data("a.mat", "images"), Topography())),
        runs.plain(RunConfig("resnet50", PAPER, Data("a.mat", "images"))),
    ]

    def give(draw: random.Random) -> None:
        text = mutated(draw, draw.choice(whole_configs))
        written(folder / "config.json", text)
        config = runs.read_config(folder)
        runs.reported_checkpoint(folder)
        if config.topography is not None:
            assert config.topography.lattice().channels <= 4096
        runs.check_run(folder, config)

    return give


def results(folder: Path) -> Give:
    """The files of a results folder, read by the tables and by a figure every now and then, and by a group."""
    extras = {"lesions": True, "robustness": True}
    control, topo = (made_up_results.write_run(folder / arm, arm, 1, **extras) for arm in ("control", "topo"))
    made_up_results.dump(folder / "claims.json", CLAIMS)
    made_up_results.dump(topo / "provenance.json", {"sessions": [SESSION]})
    analyze_group([control, topo], folder)
    kept = {
        path: path.read_bytes() for path in sorted([*topo.iterdir(), folder / "group.json", folder / "claims.json"])
    }
    jsons = {path: json.loads(content) for path, content in kept.items() if path.suffix == ".json"}
    figures = [name for name in exhibits() if not name.startswith("table_")]
    tables = [name for name in exhibits() if name.startswith("table_") and name != "table_seeds"]
    out = folder / "out"

    def give(draw: random.Random) -> None:
        path = draw.choice(sorted(kept))
        if path in jsons and draw.random() < 0.9:
            written(path, mutated(draw, jsons[path]))
        elif path.suffix == ".npz" and draw.random() < 0.7:
            with np.load(path) as saved:
                arrays = {name: saved[name] for name in saved.files}
            name = draw.choice(sorted(arrays))
            np.savez_compressed(path, **{**arrays, name: strange_array(draw, arrays[name])})
        else:
            path.write_bytes(flipped(draw, kept[path]))
        try:
            if path.name == "claims.json":
                read_document(path, "claims")
            elif path.name == "group.json":
                exhibits()["table_seeds"].make(Inputs(group=path), out)
            elif path.name == "provenance.json":
                load_provenance([path])
            else:
                inputs = Inputs([control, topo])
                read_documents(topo)
                _ = load([topo])[0].metrics, load([topo])[0].maps, load([topo])[0].examples
                drawn = [draw.choice(tables)] + ([draw.choice(figures)] if draw.random() < 0.1 else [])
                for name in drawn:
                    exhibits()[name].make(inputs, out)
                analyze_group([control, topo], out)
        finally:
            path.write_bytes(kept[path])

    return give


SESSION = {"wall_seconds": 3.0, "peak_memory": {"rss": 10**9}, "device": "a CPU", "processes": 1, "dirty": False,
           "commit": "0123", "threads": 2, "tf32": False, "data_sha256": "da7a", "torch": "2"}  # fmt: skip
CHECK = {"verdict": "supported", "statistic": "s", "here": {"0": 1.0}, "reference": {"0": None}, "reason": None,
         "wanted": {"low": 0.0, "high": None, "strict": True, "text": "> 0"}}  # fmt: skip
CLAIMS = {
    "schema": 1, "kind": "claims", "level": 95.0, "not_supported": ["a"], "never_run": ["b"],
    "profiles": [{"id": "demo", "about": "a", "command": "make", "disk": None, "here": "h", "here_is_reference": False,
                  "reference": "r"}],
    "claims": [{"id": "c", "profile": "demo", "kind": "order", "statement": "s", "verdict": "supported",
                "cost": None, "checks": [CHECK]}],
}  # fmt: skip


def pictures(folder: Path) -> Give:
    """Photographs in every format that is read, damaged, and small files that promise a huge picture."""
    picture = cv2.resize(np.random.default_rng(3).integers(0, 255, (8, 12, 3), dtype=np.uint8), (64, 48))
    files = []
    for suffix in (".jpg", ".jpg", ".png", ".bmp", ".webp", ".tif", ".avif", ".gif", ".ppm", ".jp2"):
        done, packed = cv2.imencode(suffix, picture)
        assert done, suffix
        files.append((suffix, packed.tobytes()))

    def give(draw: random.Random) -> None:
        suffix, content = draw.choice(files)
        if draw.random() < 0.15:
            suffix, content = huge(draw)
        path = folder / f"a{draw.choice((suffix, '.jpg'))}"
        for old in folder.glob("a.*"):
            old.unlink()
        path.write_bytes(flipped(draw, content) if draw.random() < 0.9 else content)
        photo = read_photograph(path, upright=draw.random() < 0.5)
        if photo is None:
            raise PoseTopoError(f"{path}: not readable as a photograph")
        network_input(photo, whole(photo), draw.choice((DEMO, PAPER)))

    return give


def huge(draw: random.Random) -> tuple[str, bytes]:
    """A small picture whose header says that it is huge."""
    sides = [draw.choice((30_000, 65_535, 10**6, 2**31 - 1, 12_000)) for _ in range(2)]
    body = zlib.compress(bytes(100_000))
    parts = [(b"IHDR", struct.pack(">IIBBBBB", *sides, 8, 2, 0, 0, 0)), (b"IDAT", body), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in parts]
    png = b"\x89PNG\r\n\x1a\n" + b"".join(chunks)
    bmp = (
        b"BM" + struct.pack("<IHHI", 1000, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, *sides, 1, 24, 0, 0, 0, 0, 0, 0)
    )
    ppm = b"P6 %d %d 255\n" % tuple(sides)
    return draw.choice(((".png", png), (".bmp", bmp + bytes(946)), (".ppm", ppm + bytes(1000))))


DOORS: dict[str, Callable[[Path], Give]] = {
    "annotation of MPII (.mat)": mpii_annotation,
    "annotation of LSPET (.mat)": lspet_annotation,
    "annotation in COCO's format (.json)": coco_annotation,
    "predictions (.h5, .mat)": predictions,
    "checkpoints (.pt, .safetensors)": checkpoints,
    "settings of a run (config.json)": configs,
    "result files (.json, .npz, .csv)": results,
    "photographs": pictures,
}
REAL = "annotation of real people (.mat)"  # not in the table, because its file is not in this repository


# ---- one process per door


def go(name: str, first: int, count: int, folder: Path) -> dict[str, float]:
    """Give a door `count` damaged files, in this process."""
    give = (DOORS | {REAL: real_annotation})[name](folder)
    warnings.simplefilter("ignore")
    sys.addaudithook(_refuse_programs)
    read, started = 0, time.perf_counter()
    for seed in range(first, first + count):
        (folder / "seed").write_text(str(seed))
        signal.setitimer(signal.ITIMER_PROF, SECONDS)  # of computing; it ends this process
        signal.alarm(WAITING)
        try:
            give(random.Random(seed))
            read += 1
        except PoseTopoError as error:
            line, _ = one_line(error)
            assert len(line) < 600, line
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.alarm(0)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"read": read, "refused": count - read, "peak": peak, "seconds": time.perf_counter() - started}


def _refuse_programs(event: str, arguments: tuple) -> None:
    if event in PROGRAMS:
        print(f"{event} {arguments}", file=sys.stderr, flush=True)
        os._exit(3)


def child(name: str, first: int, count: int, folder: Path) -> dict[str, float]:
    """Give a door `count` damaged files in another process.

    Raises:
        AssertionError: an input crashed it, hung, or was answered with another error. The message names its seed.
    """
    command = [sys.executable, __file__, name, str(first), str(count), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    seed = (folder / "seed").read_text() if (folder / "seed").is_file() else "none"
    assert done.returncode == 0, f"{name}, seed {seed}: exit code {done.returncode}; {done.stderr[-1500:]}"
    return json.loads(done.stdout.splitlines()[-1])


def row(name: str, found: dict[str, float]) -> str:
    """The row of the table in docs/reliability.md."""
    inputs = int(found["read"] + found["refused"])
    return (
        f"| {name} | {inputs:,} | {int(found['refused']):,} | {int(found['read']):,} | {found['peak'] / 1e9:.1f} GB |"
    )


def main() -> None:
    """Run one door, or all of them and write the table."""
    if len(sys.argv) > 1:
        print(json.dumps(go(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))))
        return
    rows = []
    for name in DOORS:
        with tempfile.TemporaryDirectory() as folder:
            found = child(name, 0, INPUTS, Path(folder))
        rows.append(row(name, found))
        print(rows[-1], f"{found['seconds']:.0f} s", flush=True)
    text = PAGE.read_text(encoding="utf-8")
    table = re.sub(r"(?<=\| --- \|\n)(\| .*\|\n)*", lambda _: "\n".join(rows) + "\n", text, count=1)
    PAGE.write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
