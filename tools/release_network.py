"""Train the released network, and write it with its scores to pose_topo/released.

    .venv/bin/python tools/release_network.py --lspet DIR --start RUN --work DIR [--mpii DIR] [--epochs N]

The network is trained on LSPET's training part and on rendered people together. `--start` is the run of the protocol
`photographs` whose backbone and deconvolutions it starts from. The joint data set lies in WORK as an annotation file in
COCO's format and links to the photographs. WORK/runs keeps the run; a second call continues or only writes the files.
`python -m paper_figures.docs` then writes the numbers into the model card.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pose_topo.core.files import sha256_file, write_json, write_text
from pose_topo.data.batches import Batches
from pose_topo.data.dataset import cached_people, prepare
from pose_topo.data.splits import make_split
from pose_topo.models.pose import predict
from pose_topo.scoring.pckh import pck, score
from pose_topo.stages.checkpoints import load_network
from pose_topo.stages.predict import CATEGORY
from pose_topo.study.config import Data
from pose_topo.study.protocols import PHOTOGRAPHS
from pose_topo.study.runs import RELEASED, load_checkpoint, save_safetensors

RENDERED, OTHER_RENDERED = (3000, 10), (1000, 11)  # people and seed: for training, and for the scores
ARCH = "resnet18"
PREFIX = "rendered-"  # of the file names of rendered photographs


def joint_data(work: Path, lspet: Path, cache: Path) -> None:
    """Write the annotation file, the links and the list of held-out photographs."""
    rendered = work / f"synthetic-{RENDERED[0]}"
    call("download", "synthetic", "--data", rendered, "--people", RENDERED[0], "--seed", RENDERED[1])
    photographs, drawn = Data.at(lspet), Data.at(rendered)
    people, _ = cached_people(photographs.mat_path, cache)
    split = make_split(people, PHOTOGRAPHS, photographs, seed=0)
    others, _ = cached_people(drawn.mat_path, cache)
    folder = work / "joint"
    (folder / "images").mkdir(parents=True, exist_ok=True)
    ours = np.sort(np.concatenate([split.train, split.val]))
    number: dict[str, int] = {}  # of each photograph, by its name
    annotations = []
    for someone, rows, images, prefix in (
        (people, ours, Path(photographs.img_dir), ""),
        (others, np.arange(len(others)), Path(drawn.img_dir), PREFIX),
    ):
        for row in rows:
            source = someone.images[someone.image[row]]
            name = prefix + source
            if name not in number:
                number[name] = len(number) + 1
                link = folder / "images" / name
                link.unlink(missing_ok=True)
                link.symlink_to((images / source).resolve())
            (x, y), scale = someone.center[row], someone.scale[row]
            side = 200 * scale
            corner = x - side / 2, y + 15 * scale - side / 2  # the reader moves the centre up again
            seen = np.where(someone.labelled[row], 1 + someone.visible[row], 0)
            points = np.column_stack([np.nan_to_num(someone.joints[row]), seen]).ravel().tolist()
            about = {"id": len(annotations) + 1, "image_id": number[name], "category_id": CATEGORY["id"]}
            box = [float(value) for value in (*corner, side, side)]
            annotations.append({**about, "bbox": box, "keypoints": points})
    listed = [{"id": i, "file_name": name} for name, i in number.items()]
    write_json(folder / "annotations.json", {"images": listed, "annotations": annotations, "categories": [CATEGORY]})
    write_text(folder / "held-out.txt", "".join(f"{name}\n" for name in people.take(split.val).names))


def call(*words: Any) -> None:
    """Run a command of pose-topo."""
    subprocess.run([sys.executable, "-m", "pose_topo", *map(str, words)], check=True)


def scores(data: Data, cache: Path, rows: str) -> dict[str, Any]:
    """PCKh@0.5 and PCK@0.2 of the released network on the held-out people of a data set, or on all ("all")."""
    opened = load_network(RELEASED, "cpu")
    recipe = replace(opened.config.recipe, split="hashed" if rows == "val" else "random")
    dataset = prepare(data, recipe, seed=0, cache=cache)
    index = dataset.split.val if rows == "val" else np.sort(np.concatenate([dataset.split.train, dataset.split.val]))
    batches = Batches(dataset.store, dataset.people, index, recipe, opened.device)
    found, _, order = predict(opened.model, batches.in_order(32), batches.input_to_photo(), recipe, "fp32")
    people = dataset.people.take(order)
    truth = (found, people.joints, people.labelled)
    pckh = score(*truth, people.head_size)
    return {
        "data": data.name,
        "checkpoint_sha256": sha256_file(RELEASED),
        "pckh": pckh["pckh"]["0.5"],
        **{key: pckh[key] for key in ("people", "joints", "intervals")},
        "pck": pck(*truth, people.torso),
        "reference_lengths": people.reference_lengths(),
    }


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--lspet", "--start", "--work"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--mpii", type=Path, help="a folder with a few photographs of MPII, all of which are scored")
    parser.add_argument("--epochs", type=int, default=PHOTOGRAPHS.epochs)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    asked = parser.parse_args()
    work, cache = asked.work, asked.work / "cache"
    if not (work / "joint" / "held-out.txt").is_file():
        joint_data(work, asked.lspet, cache)
    folder = work / "joint"
    call("train-baseline", "--protocol", "photographs", "--arch", ARCH, "--data", folder, "--split", "file",
         "--split-file", folder / "held-out.txt", "--start", asked.start, "--epochs", asked.epochs, "--save-dir",
         work / "runs", "--run-name", "released", "--arm", "released", "--cache-dir", cache, "--no-wandb",
         "--threads", asked.threads)  # fmt: skip
    trained = load_checkpoint(work / "runs" / "released" / "last.pt")
    # no paths of this machine, and the split by which the network is scored
    recipe = replace(trained.config.recipe, split="hashed")
    lspet = Data("lspet/joints.mat", "lspet/images", name="lspet")
    config = replace(trained.config, recipe=recipe, data=lspet, weights=asked.start.name, threads=None)
    split = prepare(Data.at(asked.lspet), recipe, seed=0, cache=cache).split_sha256
    save_safetensors(RELEASED, replace(trained, config=config, split_sha256=split))
    other = work / f"synthetic-{OTHER_RENDERED[0]}"
    call("download", "synthetic", "--data", other, "--people", OTHER_RENDERED[0], "--seed", OTHER_RENDERED[1])
    found = {"lspet": scores(Data.at(asked.lspet), cache, "val"), "rendered": scores(Data.at(other), cache, "all")}
    if asked.mpii:
        found["mpii"] = scores(Data.at(asked.mpii), cache, "all")
    assert trained.training is not None
    sessions = [{key: s[key] for key in ("device", "precision", "torch", "wall_seconds") if key in s}
                for s in trained.training["sessions"]]  # fmt: skip
    held_out = set((folder / "held-out.txt").read_text(encoding="utf-8").split())
    names = [name for name in cached_people(folder / "annotations.json", cache)[0].names if name not in held_out]
    rendered = sum(name.startswith(PREFIX) for name in names)
    people = {"lspet": len(names) - rendered, "rendered": rendered}
    about = {"epochs": trained.epoch, "people": people, "start": asked.start.name, "sessions": sessions}
    write_json(RELEASED.with_name("scores.json"), {"training": about, **found})
    print(f"written: {RELEASED}, sha256 {sha256_file(RELEASED)}, {RELEASED.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
