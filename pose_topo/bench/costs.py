"""What each part costs: crops, batches, training steps, scoring, robustness, the audit and the spatial losses.

Every function returns a dictionary of numbers. Things that are compared are timed in turn (`side_by_side`).
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from pose_topo.core import machine
from pose_topo.data import geometry
from pose_topo.data.augmentation import AUGMENTATION_RANGES
from pose_topo.data.batches import IMAGENET_MEAN, IMAGENET_SD, Batch, Batches
from pose_topo.data.crop_store import cores, open_or_build
from pose_topo.data.crops import read_photograph
from pose_topo.data.people import CropSettings, CropStore, People
from pose_topo.data.splits import TOMPSON_SIZES
from pose_topo.models.pose import SimpleBaseline, TopoModel, build_model, predict
from pose_topo.models.regularizers import LOSSES, spatial_loss, tensor_read
from pose_topo.scoring.pckh import score
from pose_topo.stages.audit import audit
from pose_topo.stages.evaluate import BATCH
from pose_topo.stages.predict import find_photographs
from pose_topo.stages.robustness import LEVELS, correct_joints, curve
from pose_topo.study import joints as J
from pose_topo.study.backbones import HEATMAP_STRIDE
from pose_topo.study.config import Recipe, RunConfig
from pose_topo.study.lattice import Lattice
from pose_topo.training.epoch import train_steps
from pose_topo.training.optimisation import make_optimizer
from pose_topo.training.state import Meter

# ---- how long functions take, and how busy a GPU is meanwhile

TIMES = 3  # calls that are timed, after one to warm up
LONG = 20_000.0  # ms; what takes longer is timed once, because one call already averages over the machine's load
SECONDS = 3.0  # how long the use of a GPU is watched; the driver averages over up to one second
EVERY_MS = 200


def milliseconds(action: Callable[[], Any], device: torch.device) -> float:
    """The median time of a function in ms, after one call to warm up."""
    return side_by_side({"": action}, device)[""]


def side_by_side(actions: dict[str, Callable[[], Any]], device: torch.device) -> dict[str, float]:
    """The median time of each function in ms, after one call of each to warm up.

    They are called in turn, so that a change of the machine's speed affects all of them.
    """
    warm = {name: _spent(action, device) for name, action in actions.items()}
    times = 1 if max(warm.values()) > LONG else TIMES
    turns = [{name: _spent(action, device) for name, action in actions.items()} for _ in range(times)]
    return {name: statistics.median(turn[name] for turn in turns) for name in actions}


def _spent(action: Callable[[], Any], device: torch.device) -> float:
    """The time of one call in ms, until the device has finished."""
    start = time.perf_counter()
    action()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return 1e3 * (time.perf_counter() - start)


def utilisation(action: Callable[[], Any], device: torch.device) -> dict[str, float]:
    """The percentage of the time in which a GPU is busy while a function is repeated, as nvidia-smi reports it.

    Empty on a CPU, or without nvidia-smi.
    """
    if device.type != "cuda":
        return {}
    options = ["--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", f"-lms={EVERY_MS}"]
    which = f"--id=GPU-{torch.cuda.get_device_properties(device).uuid}"
    try:
        watcher = subprocess.Popen(
            ["nvidia-smi", *options, which], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
    except OSError:
        return {}
    start = time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        action()
        torch.cuda.synchronize(device)
    watcher.terminate()
    output, _ = watcher.communicate()
    return summary(output)


def summary(output: str) -> dict[str, float]:
    """The median of the values that nvidia-smi printed, without the first third, which may be from before the start."""
    values = [float(line) for line in output.split() if line.replace(".", "", 1).isdigit()]
    settled = values[len(values) // 3 :]
    return {"gpu_utilisation_percent": statistics.median(settled)} if settled else {}


# ---- the parts

CPU = torch.device("cpu")
STEPS = 12  # per timing on a CPU
AUDITED = 64  # photographs at most
CUDA_STEPS = 60  # per timing on a GPU, which is waited for once at their end
PLAIN_PEOPLE = 384  # the most people per timing of the plain loop, which is much slower on a GPU
SIZES = {"720p": (1280, 720), "1080p": (1920, 1080)}  # of most photographs of MPII
SIZED = 600  # people: enough that the beginning and the end of a build take little of the time
MPII_CROWD = sum(people for people, _ in TOMPSON_SIZES.values()) / sum(images for _, images in TOMPSON_SIZES.values())


def crops_cost(
    people: People, img_dir: Path, settings: CropSettings, work: Path, workers: int = 1
) -> tuple[dict[str, float], CropStore]:
    """Compare building the crop store with decoding every photograph once, which a build does as well, by as many
    workers. Return the numbers and the store."""
    paths = [img_dir / name for name in dict.fromkeys(people.names)]
    caches = iter(work / f"cache{k}" for k in range(10))

    def decode() -> None:
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(lambda path: read_photograph(path) is None, paths))  # no photograph is kept

    def build() -> CropStore:
        return open_or_build(people, img_dir, settings, next(caches), workers=workers, progress=False)

    alone, built = side_by_side({"decode": decode, "build": build}, CPU).values()
    cost = {
        "photographs": len(paths),
        "people_per_photograph": len(people) / len(paths),
        "decode_ms_per_person": alone / len(people),
        "crop_build_ms_per_person": built / len(people),
        "crop_build_over_decode": built / alone,
    }
    return cost, build()


def sized_crops_cost(people: People, img_dir: Path, settings: CropSettings, work: Path) -> dict[str, float]:
    """`crops_cost` on photographs like MPII's, with all cores: of each of `SIZES`, with `MPII_CROWD` people in each.

    They are photographs of the data set, continued by their mirror images, so that their level of detail stays.
    """
    people, found = _thinned(people.take(np.arange(min(SIZED, len(people)))), MPII_CROWD), {}
    for name, (width, height) in SIZES.items():
        folder = work / name
        _resized(people, img_dir, folder / "images", width, height)
        cost, _ = crops_cost(people, folder / "images", settings, folder, cores())
        found |= {f"{name}_{key}": value for key, value in cost.items() if key != "photographs"}
        shutil.rmtree(folder)
    return found


def _thinned(people: People, crowd: float) -> People:
    """The first person of each photograph, and as many others as make `crowd` people per photograph."""
    first = np.sort(np.unique(people.image, return_index=True)[1])
    others = np.setdiff1d(np.arange(len(people)), first)
    return people.take(np.sort(np.append(first, others[: max(0, round(crowd * len(first)) - len(first))])))


def _resized(people: People, img_dir: Path, into: Path, width: int, height: int) -> None:
    """Write every photograph at another size; its top left corner stays where it is."""
    into.mkdir(parents=True)
    for name in dict.fromkeys(people.names):
        photo = read_photograph(img_dir / name)
        assert photo is not None  # a store was built from it before
        down, right = max(0, height - photo.shape[0]), max(0, width - photo.shape[1])
        larger = cv2.copyMakeBorder(photo, 0, down, 0, right, cv2.BORDER_REFLECT)
        cv2.imwrite(str(into / name), larger[:height, :width])


def batch_cost(store: CropStore, people: People, recipe: Recipe, device: torch.device) -> dict[str, float]:
    """Make batches without and with the standard augmentation; the latter also with one thread of the CPU."""

    def one(augment: str, where: torch.device) -> float:
        batches = Batches(store, people, np.arange(len(people)), replace(recipe, augment=augment), where)  # type: ignore[arg-type]  # a Literal
        # none is kept, because all of them together would be many GB
        return milliseconds(lambda: deque(batches.epoch(0, 1, recipe.batch_size), maxlen=0), where) / len(people)

    cost = {f"batch_{augment}_ms_per_person": one(augment, device) for augment in ("none", "standard")}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return cost | {"batch_standard_one_thread_ms_per_person": one("standard", CPU)}
    finally:
        torch.set_num_threads(threads)


def step_cost(
    store: CropStore, people: People, img_dir: Path, config: RunConfig, device: torch.device, *, compiled: bool = False
) -> dict[str, float]:
    """Compare training steps on a batch that is ready (the ceiling), in the whole loop, and in `PlainLoop`.

    Args:
        compiled: also measure the ceiling with torch.compile.
    """
    recipe, size = config.recipe, config.recipe.batch_size
    machine.prepare_device(device, None, deterministic=False)
    machine.forget_peak_memory(device)  # of what was measured before
    batches = Batches(store, people, np.arange(len(people)), recipe, device)
    steps = CUDA_STEPS if device.type == "cuda" else STEPS
    fixed = next(batches.epoch(0, 1, size))
    ours = trainer(config, device)
    ours(endless(batches, size, steps))
    peak = machine.peak_memory(device)  # before a second network is made
    busy = utilisation(lambda: ours(endless(batches, size, steps)), device)
    plain, few = PlainLoop(people, img_dir, config, device), max(1, min(steps, PLAIN_PEOPLE // size))
    actions = {
        "model_only": lambda: ours([fixed] * steps),
        "full": lambda: ours(endless(batches, size, steps)),
        "plain": lambda: plain.run(few),
    }
    if compiled:
        faster = trainer(config, device, compiled=True)
        actions["compiled"] = lambda: faster([fixed] * steps)
    taken = side_by_side(actions, device)
    spent = {name: time / (few if name == "plain" else steps) for name, time in taken.items()}
    cost = {f"step_{name}_ms": time for name, time in spent.items()}
    cost |= {f"images_per_s_{name}": 1e3 * size / time for name, time in spent.items()}
    cost |= {
        "full_over_ceiling": spent["model_only"] / spent["full"],
        "full_over_plain": spent["plain"] / spent["full"],
    }
    if compiled:
        cost["compiled_over_model_only"] = spent["model_only"] / spent["compiled"]
    return cost | busy | {f"peak_{kind}_mb": bytes_ / 1e6 for kind, bytes_ in peak.items()}


def endless(batches: Batches, size: int, steps: int) -> Iterator[Batch]:
    """The batches of so many steps, in as many epochs as that takes."""
    return islice(chain.from_iterable(batches.epoch(0, epoch, size) for epoch in count(1)), steps)


def new_network(config: RunConfig, device: torch.device) -> SimpleBaseline:
    """The network of a run with random weights, always the same ones."""
    torch.manual_seed(0)
    return build_model(config).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it


def trainer(config: RunConfig, device: torch.device, compiled: bool = False) -> Callable[[Iterable[Batch]], None]:
    """A function that trains a new network on batches, as the training loop does."""
    model = new_network(config, device)
    if compiled:
        model.compile()
    optimizer, precision = make_optimizer(model, config.recipe), machine.pick_precision(config.precision, device)

    def run(batches: Iterable[Batch]) -> None:
        meter = Meter(device)
        deque(train_steps(
            model, optimizer, batches, config.recipe, precision=precision, spatial_lambda=0.5, rate=lambda _: 1e-4,
            first_step=0, meter=meter,
        ), maxlen=0)  # fmt: skip
        meter.read()  # waits for the device

    return run


class PlainPeople(Dataset):
    """Reads, warps and augments one person at a time. An item is an input (3, H, W), its target heatmaps
    (16, H/4, W/4) and its joint mask (16, 1, 1)."""

    def __init__(self, people: People, img_dir: Path, recipe: Recipe) -> None:
        self.people, self.names, self.img_dir, self.recipe = people, people.names, img_dir, recipe
        self.rng = np.random.default_rng(0)

    def __len__(self) -> int:
        return len(self.people)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        size, spread, people = self.recipe.input_size, AUGMENTATION_RANGES["standard"], self.people
        photo = cv2.imread(str(self.img_dir / self.names[i]), cv2.IMREAD_COLOR_RGB)
        assert photo is not None
        scale = 1 + np.clip(spread.scale_sd * self.rng.standard_normal(), -spread.scale_limit, spread.scale_limit)
        angle = np.clip(spread.rotation_sd * self.rng.standard_normal(), -spread.rotation_limit, spread.rotation_limit)
        angle = angle if self.rng.random() < spread.rotation_share else 0.0
        to_photo = geometry.person_to_photo(people.center[i : i + 1], people.scale[i : i + 1] * scale, size)
        turn = geometry.invert(to_photo)[0]
        turn = (
            np.vstack([cv2.getRotationMatrix2D((size / 2, size / 2), angle, 1.0), [0, 0, 1]])
            @ np.vstack([turn, [0, 0, 1]])
        )[:2]
        picture = cv2.warpAffine(photo, turn, (size, size), flags=cv2.INTER_LINEAR)
        joints, labelled = people.joints[i] @ turn[:, :2].T + turn[:, 2], people.labelled[i]
        if self.rng.random() < spread.flip_share:
            picture = picture[:, ::-1]
            joints = (joints * [-1, 1] + [size - 1, 0])[list(J.FLIP_INDEX)]
            labelled = labelled[list(J.FLIP_INDEX)]
        tensor = torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1))).float() / 255
        mean, sd = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_SD))
        heat = torch.from_numpy(self._targets(joints / HEATMAP_STRIDE, labelled))
        return (tensor - mean) / sd, heat, torch.from_numpy(labelled).float().view(-1, 1, 1)

    def _targets(self, cells: NDArray[np.float64], labelled: NDArray[np.bool_]) -> NDArray[np.float32]:
        size, sigma = self.recipe.heatmap_size, self.recipe.sigma
        grid = np.arange(size, dtype=np.float32)
        heat = np.zeros((len(cells), size, size), np.float32)
        for k, (x, y) in enumerate(cells):
            if labelled[k]:
                heat[k] = np.exp(-((grid[None] - round(x)) ** 2 + (grid[:, None] - round(y)) ** 2) / (2 * sigma**2))
        return heat


class PlainLoop:
    """The training loop that public code commonly has: fp32, contiguous memory, `loss.item()` in every step."""

    def __init__(self, people: People, img_dir: Path, config: RunConfig, device: torch.device) -> None:
        torch.manual_seed(0)
        self.config, self.device, self.loss = config, device, 0.0
        self.model = build_model(config).to(device).train()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-4)
        self.loader = DataLoader(
            PlainPeople(people, img_dir, config.recipe), config.recipe.batch_size, shuffle=True, drop_last=True
        )

    def run(self, steps: int) -> None:
        """Take some steps more."""
        endless = chain.from_iterable(self.loader for _ in count())
        for images, heatmaps, weights in islice(endless, steps):
            found = self.model(images.to(self.device))
            loss = 0.5 * ((found - heatmaps.to(self.device)) * weights.to(self.device)).square().mean()
            if isinstance(self.model, TopoModel) and self.config.topography is not None:
                loss = loss + self.config.topography.weight * self.model.topo_reg_loss()
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            self.loss += loss.item()


def evaluation_cost(
    store: CropStore, people: People, config: RunConfig, device: torch.device, count: int
) -> dict[str, float]:
    """Compare scoring `count` people (repeated, if there are fewer) with the flip test with its two forward passes
    alone, on a batch that is ready."""
    recipe = replace(config.recipe, flip_test=True)
    precision = machine.pick_precision(config.precision, device)
    model = new_network(config, device).eval()
    size, rows = min(BATCH, count), np.resize(np.arange(len(people)), count)
    batches = Batches(store, people, rows, recipe, device)
    fixed = next(batches.in_order(size)).images

    @torch.inference_mode()
    def forward() -> None:
        for start in range(0, count, size):
            with machine.autocast(device, precision):
                for _ in range(2):
                    model(fixed[: count - start])

    def run() -> tuple[Any, Any, Any]:
        return predict(model, batches.in_order(size), batches.input_to_photo(), recipe, precision)

    predicted, _, order = run()
    scored = people.take(order)
    unit = scored.head_size
    ceiling, prediction = side_by_side({"forward": forward, "predict": run}, device).values()
    scoring = milliseconds(lambda: score(predicted, scored.joints, scored.labelled, unit), CPU)
    return {
        "evaluation_people": count,
        "evaluation_s": (prediction + scoring) / 1e3,
        "evaluation_images_per_s_model_only": 1e3 * count / ceiling,
        "evaluation_images_per_s": 1e3 * count / (prediction + scoring),
        "evaluation_score_ms": scoring,
        "evaluation_over_model_only": ceiling / (prediction + scoring),
    }


def robustness_cost(store: CropStore, people: People, config: RunConfig, device: torch.device) -> dict[str, float]:
    """Score people under every harm, with the flip test. It is timed once, because it takes minutes."""
    precision = machine.pick_precision(config.precision, device)
    model = new_network(config, device).eval()
    batches = Batches(store, people, np.arange(len(people)), replace(config.recipe, flip_test=True), device)

    def run() -> None:
        correct, labelled = correct_joints(model, batches, people, precision)
        for harm, levels in LEVELS.items():
            curve(correct[harm], labelled, levels)

    return {"robustness_people": len(people), "robustness_s": _spent(run, device) / 1e3}


def audit_cost(photographs: Path, device: torch.device) -> dict[str, float]:
    """Audit a layer of torchvision's ResNet-18 with its default options: from the weights alone, and with pictures."""
    torch.manual_seed(0)
    model, layer, grid = torchvision.models.resnet18(), "layer4.1.conv2", (16, 32)

    def run(**more: Any) -> float:
        return _spent(lambda: audit(model, layer, grid, device=str(device), **more), device) / 1e3

    pictures = min(AUDITED, len(find_photographs([photographs])))
    return {
        "audit_weights_s": run(),
        "audit_pictures": pictures,
        "audit_pictures_s": run(readout="fc", images=photographs, most=pictures),
    }


def spatial_loss_cost(device: torch.device) -> dict[str, float]:
    """The value and the gradient of each spatial loss, for 256 channels to a 16 x 16 grid and 16 inputs of 32 x 32
    cells."""
    lattice = Lattice(16, 16)
    weight = torch.randn(256, 256, 1, 1, device=device, requires_grad=True)
    maps = torch.randn(16, 256, 32, 32, device=device).relu_().to(memory_format=torch.channels_last).requires_grad_()

    def run(name: str) -> None:
        read = weight if tensor_read(name) == "weights" else maps
        torch.autograd.grad(spatial_loss(name, lattice, weight, maps), read)

    return side_by_side({f"loss_{name}_ms": lambda n=name: run(n) for name in LOSSES}, device)
