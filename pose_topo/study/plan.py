"""Which runs a study consists of, and on which devices: study.toml, with the variables that make was given.

This module imports the standard library only (and tomli with Python 3.10), so that tools/study.py runs before anything
is installed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import groupby, pairwise, product, takewhile
from pathlib import Path
from typing import Any

from pose_topo.core.errors import UsageError
from pose_topo.study.arms import USUAL, Arm
from pose_topo.study.protocols import PROTOCOLS

REFERENCE = Path("paper_figures/reference")


def read_study() -> dict[str, Any]:
    """Return the content of study.toml."""
    try:
        from pose_topo.core.files import read_toml
    except ModuleNotFoundError:
        sys.exit("study: Python 3.10 cannot read TOML by itself: run `make setup` first")
    return read_toml(Path(__file__).with_name("study.toml"))


def gpus() -> int:
    """Return how many GPUs there are, as CUDA_VISIBLE_DEVICES or the driver says, without torch."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        # CUDA ignores what comes after the first entry that is no device
        return len(list(takewhile(lambda name: name and name != "-1", visible.replace(" ", "").split(","))))
    if shutil.which("nvidia-smi") is None:
        return 0
    told = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout
    return len(re.findall(r"^GPU \d+:", told, re.MULTILINE))


def _cores() -> list[int]:
    """Return the CPU cores that this process may use. The two threads of a physical core stand beside each other."""

    def place(core: int) -> tuple[int, int]:
        siblings = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
        return int(re.split("[-,]", siblings.read_text())[0]) if siblings.is_file() else core, core

    return sorted(os.sched_getaffinity(0), key=place)


def _ranges(numbers: Iterable[int]) -> str:
    """Return numbers as taskset writes them, e.g. 0-3,8."""
    groups = groupby(enumerate(sorted(numbers)), lambda pair: pair[1] - pair[0])
    found = [[number for _, number in group] for _, group in groups]
    return ",".join(f"{one[0]}-{one[-1]}" if len(one) > 1 else str(one[0]) for one in found)


@dataclass(frozen=True)
class Run:
    """A run, by its place below the folders of runs and of results: <recipe>/<backbone>/<arm>-s<seed>.

    The recipe is the protocol and everything that is set otherwise, so that other settings get other folders.
    """

    recipe: str
    arch: str
    name: str

    def __str__(self) -> str:
        return f"{self.recipe}/{self.arch}/{self.name}"

    @property
    def group(self) -> str:
        """The recipe and backbone: the runs that figures show together."""
        return f"{self.recipe}/{self.arch}"

    @property
    def protocol(self) -> str:
        return self.recipe.partition("-")[0]

    @property
    def arm(self) -> str:
        return self.name.rpartition("-s")[0]

    @property
    def seed(self) -> str:
        return self.name.rpartition("-s")[2]


class Study:
    """The variables of the Makefile, with the values of study.toml for those that are not given.

    Raises:
        UsageError: a value is not one of its choices.
    """

    def __init__(self, given: dict[str, str]) -> None:
        self._given = given
        self._main = main = read_study()
        self.name, self.reference = self.text("STUDY", "all"), self.text("RESULTS") == "reference"
        if self.name not in main["study"]:
            raise UsageError(f"STUDY={self.name}: give one of {', '.join(main['study'])}")
        self._own = own = main["study"][self.name]
        self.protocol = self.text("PROTOCOL", own["protocol"])
        if self.protocol not in PROTOCOLS:
            raise UsageError(f"PROTOCOL={self.protocol}: give one of {', '.join(PROTOCOLS)}")
        if self.text("RESULTS") and not self.reference:
            raise UsageError(f"RESULTS={self.text('RESULTS')}: give reference, or nothing")
        self.data = self.rendered(self.name) or self.text("DATA", own.get("data", "mpii")).rstrip("/")
        self.data_name = Path(self.data).name
        # the results of given checkpoints are kept apart from those of one's own
        self.checkpoints = self.text("CHECKPOINTS") or self.text("RUNS")
        self.run_folder = f"{self.checkpoints}/{self.data_name}"
        # the run of another part from whose network all runs start, if this part of the study says so
        self.start = Run(*own["start"].split("/")) if "start" in own else None
        self.start_data = self.rendered(self.start.protocol) if self.start else ""
        self.start_folder = f"{self.checkpoints}/{Path(self.start_data).name}/{self.start}"
        self.out = self.text("OUT") + ("/given" if self.text("CHECKPOINTS") else "")
        # other settings get other folders
        self.epochs, self.train = self.text("EPOCHS"), self.text("TRAIN")
        self.changed = f"-e{self.epochs}" if self.epochs else ""
        self.changed += self.train.replace(" ", "").replace("=", "").replace("/", "_")
        self.recipe = self.protocol + self.changed
        self.backbones = self.words("ARCHS", own.get("backbones", main["backbones"]))
        self.arms = self.words("ARMS", own.get("arms", main["arms"]))
        self.lesion_arms = self.words("LESION_ARMS", own.get("lesion_arms", [*self.arms, *main["lesion_arms"]]))
        # a heavy step is started by a launcher such as srun, or by make on one of these devices
        self.launch = self.text("LAUNCH")
        self.devices = self._devices()
        self.robust_arms = self.words("ROBUST_ARMS", own.get("robust_arms", main["robust_arms"]))

    def text(self, name: str, default: object = "") -> str:
        """Return a value without surplus blanks."""
        return " ".join(self._given.get(name, str(default)).split())

    def words(self, name: str, default: Iterable[object]) -> list[str]:
        """Return the words of a value."""
        return self._given[name].split() if name in self._given else [str(value) for value in default]

    def _devices(self) -> list[str]:
        """Return a device for each heavy step that runs at the same time: auto, cuda:N, cpu or cpu@CORES."""
        one, given = self.text("DEVICE", "auto"), self.text("DEVICES").split()
        if not given:
            count = gpus() if one == "auto" and not self.launch and not self.reference else 0
            return [f"cuda:{i}" for i in range(count)] if count > 1 else [one]
        if self.launch or one != "auto":
            raise UsageError(f"DEVICES: not with {'LAUNCH, which chooses the devices' if self.launch else 'DEVICE'}")
        if wrong := [name for name in given if not re.fullmatch(r"cpu|(cuda:)?\d+", name)]:
            raise UsageError(f"DEVICES: no device {wrong[0]}: give the numbers of GPUs, or cpu, such as 0 1 or cpu cpu")
        names = [f"cuda:{name}" if name.isdigit() else name for name in given]
        if twice := [name for name in set(names) if name != "cpu" and names.count(name) > 1]:
            raise UsageError(f"DEVICES: {min(twice)} is given twice, but a GPU has one step at a time")
        parts, cores = names.count("cpu"), _cores()
        if parts > len(cores):
            raise UsageError(f"DEVICES: {parts} times cpu, but there are {len(cores)} cores")
        if parts > 1:  # each gets cores of its own, because two programs on the same cores wait for each other
            bounds = [len(cores) * i // parts for i in range(parts + 1)]
            shares = [_ranges(cores[a:b]) for a, b in pairwise(bounds)]
            names = [name for name in names if name != "cpu"] + [f"cpu@{share}" for share in shares]
        return names

    def rendered(self, part: str) -> str:
        """Return the folder of the people that are rendered for a part of the study, or "" if none are."""
        people = self._main["study"][part].get("people", "")
        people = self.text("DEMO_PEOPLE", people) if part == "demo" else people
        return people and f"data/synthetic-{people}"

    def runs(self) -> list[Run]:
        """Return the runs of this part of the study.

        Raises:
            UsageError: a name is not that of an arm, or a loss has no lambdas in study.toml.
        """
        main, own, sweep = self._main, self._own, self._main["sweep"]
        standard = self.protocol == "standard"  # otherwise the main comparison stands alone unless asked
        seeds = self.words("SEEDS", own.get("seeds", main["seeds"]))
        sweep_archs = own.get("sweep_backbones", sweep["backbones"] if standard else [])
        paper_archs = own.get("paper_backbones", main["paper"]["backbones"] if standard else [])
        found = [(self.recipe, self.backbones, self._named("ARMS", self.arms), seeds)]
        if sweep_archs := self.words("SWEEP_ARCHS", sweep_archs):
            found.append((self.recipe, sweep_archs, self._swept(), self.words("SWEEP_SEEDS", sweep["seeds"])))
        if self.protocol != "paper" and (paper_archs := self.words("PAPER_ARCHS", paper_archs)):
            found.append((f"paper{self.changed}", paper_archs, self._named("ARMS", self.arms, "paper"), seeds))
        runs = {Run(one[0], arch, f"{arm}-s{seed}") for one in found for arch, arm, seed in product(*one[1:])}
        return sorted(runs, key=str)

    def _named(self, variable: str, names: Iterable[str], protocol: str = "") -> list[Arm]:
        try:
            return [Arm.parse(name, PROTOCOLS[protocol or self.protocol]) for name in names]
        except UsageError as error:
            raise UsageError(f"{variable}: {error}") from None

    def _swept(self) -> list[Arm]:
        sweep, recipe = self._main["sweep"], PROTOCOLS[self.protocol]
        losses = self.words("LOSSES", sweep["losses"])
        if unknown := [loss for loss in losses if loss not in sweep["losses"]]:
            raise UsageError(f"LOSSES: {unknown[0]} has no lambdas in study.toml (sweep.losses)")
        weights = map(float, self.words("LAMBDAS", sweep["lambdas"]))
        multipliers = map(float, self.words("FACTORS", sweep["multipliers"]))
        return [
            *self._named("sweep.arms", sweep["arms"]),
            *(Arm(replace(USUAL, weight=weight)) for weight in weights),
            *(Arm(USUAL, multiplier).under(recipe) for multiplier in multipliers),
            *(Arm(replace(USUAL, loss=loss, weight=float(w))) for loss in losses for w in sweep["losses"][loss]),
        ]

    def finished_runs(self) -> list[Run]:
        """Return the runs that exist, whatever this part of the study is.

        Raises:
            UsageError: there is none.
        """
        paths = Path(self.run_folder).glob("*/*/*/provenance.json")
        found = sorted((Run(*path.parts[-4:-1]) for path in paths), key=str)
        if not found:
            where = f"no finished run in {self.run_folder}"
            raise UsageError(f"{where}: `make all` trains them; for the demo's give STUDY=demo")
        return found

    def beside(self, group: str) -> list[str]:
        """Return the reference results that the tables of a group of runs also show."""
        for name, part in self._main["study"].items():
            own = f"synthetic-{part.get('people')}", f"{part['protocol']}/{part.get('backbones', [''])[0]}"
            if "beside" in part and own == (self.data_name, group):
                return sorted(str(path) for one in part["beside"] for path in (REFERENCE / name).glob(one))
        return []
