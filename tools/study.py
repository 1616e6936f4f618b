"""Print the Make rules of a part of the study, or what it costs. The standard library suffices for the rules.

    tools/study.py FILE [--finished] [NAME=VALUE ...]    write the rules to FILE, unless it already holds them
    tools/study.py --plan [NAME=VALUE ...]               print how many runs there are, and their hours, disk and memory

pose_topo/study/study.toml says what the study consists of. The settings NAME=VALUE are the variables of the Makefile;
they take precedence. With --finished the runs are those that exist, and no rule trains one.

The graph: data -> run (provenance.json is written last) -> evaluation.json, analysis.json -> group.json -> figures and
tables (a caption is written last) -> claims.json -> report.html. A run depends on no code, so that newer code never
trains it again. Everything else is made again when the code that makes it changes.
"""

from __future__ import annotations

import ast
import json
import os
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pose_topo.core.errors import UsageError  # noqa: E402  # found by the line above
from pose_topo.study.arms import Arm  # noqa: E402
from pose_topo.study.plan import REFERENCE, Run, Study  # noqa: E402
from pose_topo.study.protocols import PROTOCOLS  # noqa: E402

IMPORT = re.compile(r"^\s*from ((?:pose_topo|paper_figures)[\w.]*) import (\([^)]*\)|[^\n(]+)", re.MULTILINE)
GROUP_TABLE = "table_seeds"  # it is made from group.json instead of the results folders
SCRIPTS = ("paper_figures/figures", "paper_figures/tables")
PASSED_OVER = ("pose_topo/download", "pose_topo/rendering")  # what they make is not made again when they change


# ---- what code makes what


def code_of(*modules: str) -> set[str]:
    """Return the files that these modules consist of: their own, those of the modules that they import, directly or
    not, and the data files beside them that they name."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        path = Path(waiting.pop().replace(".", "/")).with_suffix(".py")
        if str(path) not in found and not str(path).startswith(PASSED_OVER) and path.is_file():
            files, imported = _read_module(path)
            found |= files
            waiting += imported
    return found


@cache
def _read_module(path: Path) -> tuple[set[str], list[str]]:
    """The files of one module, and the names that it imports, modules or not."""
    text = path.read_text(encoding="utf-8")
    data = {str(one) for one in path.parent.iterdir() if one.suffix not in ("", ".py") and f'"{one.name}"' in text}
    imports = [(base, re.findall(r"\w+", names)) for base, names in IMPORT.findall(text)]
    return {str(path), *data}, [name for base, names in imports for name in (base, *(f"{base}.{one}" for one in names))]


def scripts() -> dict[str, Path]:
    """Return the script of each figure and table by its name, in the order of the paper.

    They are read from the source of the scripts, because importing the scripts needs the installed packages.
    """
    found = []
    for path in (path for folder in SCRIPTS for path in (ROOT / folder).glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
                given = {k.arg: k.value.value for k in node.value.keywords if isinstance(k.value, ast.Constant)}
                if {"name", "place"} <= given.keys():
                    found.append((given["place"], given["name"], path))
    return {name: path for _, name, path in sorted(found)}


# ---- the rules


class Rules:
    """The Make rules of a part of the study, as text."""

    def __init__(self, study: Study, finished: bool) -> None:
        self.study, self.finished = study, finished
        self.bin = f"{study.text('VENV')}/bin"
        self.device = f"--device {study.text('DEVICE', 'auto')}"
        self.ready = [".venv/.ready"] if self.bin == ".venv/bin" else []
        # a lock, because two trainings on one device only slow each other, also under -j
        self.tool = f"flock {study.checkpoints}/.lock {self.bin}/pose-topo"
        self.here = f"{study.out}/{'reference' if study.reference else study.data_name}"
        self.runs: list[Run] = []
        self.groups: dict[str, list[str]] = {}  # folder of figures and tables -> the results folders that they show
        if study.reference:
            for path in sorted(REFERENCE.glob("*/*/analysis.json")):
                self.groups.setdefault(f"{self.here}/{path.parts[-3]}", []).append(str(path.parent))
        else:
            self.runs = study.finished_runs() if finished else study.runs()
            for run in self.runs:
                self.groups.setdefault(f"{self.here}/{run.group}/paper", []).append(f"{self.here}/{run}")

    def lines(self) -> Iterator[str]:
        """Yield the lines of the rules."""
        published = f"{self.study.out}/newell/evaluation.json"  # once it is fetched and scored (docs/metrics.md)
        published = [published] if Path(published).is_file() else []
        lists = [f"@{folder}/.runs" for folder in self.groups]
        judged = ["--results", *lists, *(f"--predictions-evaluation {path}" for path in published)]
        code = {name: code_of(f"paper_figures.{path.parent.name}.{path.stem}") for name, path in scripts().items()}
        own = {name: {file for file in files if file.startswith(SCRIPTS)} for name, files in code.items()}
        yield "# The Make rules of a part of the study, printed by tools/study.py: `make` overwrites them."
        yield f"HERE := {self.here}"
        yield f"RUN_FOLDER := {self.study.run_folder}"
        yield f"JUDGED := {' '.join(judged)} --out {self.here}"
        yield f"BACKBONES := {' '.join(self.study.backbones)}"
        yield f"DEMO_DATA := {self.study.demo_data}"
        yield "# the code behind each step, which is done again when the code changes"
        for name, files in {
            "EVALUATE": code_of("pose_topo.stages.evaluate"),
            "ANALYZE": code_of("pose_topo.stages.analyze"),
            "GROUP": code_of("pose_topo.stages.compare"),
            "DRAW": set().union(*code.values()) - set().union(*own.values()),
            "JUDGE": code_of("paper_figures.claims.check"),
            "REPORT": code_of("paper_figures.report.page"),
        }.items():
            yield f"{name} := {' '.join(sorted(files))}"
        if self.study.start and self.runs and not self.finished:
            yield "\n# ---- the network from which all runs start\n"
            yield from self.train_rule(self.study.start, self.study.start_folder, self.study.demo_data)
        for run in self.runs:
            yield f"\n# ---- {run}\n"
            yield from self.run_rules(run, f"{self.study.run_folder}/{run}", f"{self.here}/{run}")
        drawn: list[str] = []
        for folder, results in self.groups.items():
            yield f"\n# ---- the figures and tables in {folder}\n"
            drawn += yield from self.paper_rules(folder, results, own)
        yield "\n# ---- the claims and the report\n"
        yield from self.list_rule(self.here, [result for results in self.groups.values() for result in results])
        claims, report = f"{self.here}/claims.json", f"{self.here}/report.html"
        shown = [f"{folder}/.runs $(files-{folder})" for folder in self.groups]
        yield from self.rule(
            claims,
            [f"{self.here}/.runs", *shown, *published, "$(JUDGE)", f"$(wildcard {REFERENCE}/*/*/*.json)"],
            f"== claims: {self.here} (seconds)",
            f"{self.bin}/python -m paper_figures.claims.check $(JUDGED) --no-fail",
        )
        yield from self.rule(
            report,
            [claims, "$(REPORT)", *drawn],
            f"== report: {report} (seconds)",
            f"{self.bin}/python -m paper_figures.report.page --claims {claims} --papers {' '.join(self.groups)} \\",
            f"    --results {' '.join(lists)} --out {report}",
        )

    def run_rules(self, run: Run, folder: str, result: str) -> Iterator[str]:
        """Yield the rules that train, evaluate and analyze a run."""
        study, device = self.study, self.device
        if not self.finished:
            options = [f"--epochs {study.epochs}"] if study.epochs else []
            options += [f"--start {study.start_folder}"] if study.start else []
            options += [study.train.replace("$", "$$")] if study.train else []
            existing = [f"{study.start_folder}/provenance.json"] if study.start else []
            yield from self.train_rule(run, folder, study.data, options, existing)
        yield from self.rule(
            f"{result}/evaluation.json",
            [f"{folder}/provenance.json", "$(EVALUATE)"],
            f"== evaluate: {run} (the demo: seconds)",
            f"{self.tool} evaluate {folder} --out {result} {device}",
        )
        # mean Moran's I is also given as a share of the best that the control of the same seed can reach
        control = replace(run, name=f"control-s{run.seed}")
        has_control = run.arm not in ("baseline", "control") and control in self.runs
        compared = [f"{self.here}/{control}/analysis.json"] if has_control else []
        more = " --lesions --untrained" if run.arm in study.lesion_arms else ""
        more += "".join(f" --control {file}" for file in compared)
        yield from self.rule(
            f"{result}/analysis.json",
            [f"{folder}/provenance.json", "$(ANALYZE)", *compared],
            f"== analyze: {run} (the demo: half a minute)",
            f"{self.tool} analyze {folder} --out {result} {device}{more}",
        )

    def train_rule(
        self, run: Run, folder: str, data: str, options: Sequence[str] = (), existing: Sequence[str] = ()
    ) -> Iterator[str]:
        """Yield the rule that trains a run on the data in the folder `data`."""
        is_demo = run.recipe == "demo"
        time = "4 minutes on 2 cores that have bf16 and 8 on others" if is_demo else "the bar says how long"
        rendered = [f"{data}/manifest.json"] if data.startswith("data/synthetic-") else []
        yield from self.rule(
            f"{folder}/provenance.json",
            [],
            f"== train: {run} ({Path(data).name}): {time}",
            f"mkdir -p {self.study.checkpoints}",
            f"{self.tool} {' '.join(Arm.parse(run.arm).train_options())} --arch {run.arch} --seed {run.seed} \\",
            f"    --data {data} --protocol {run.protocol} --save-dir {folder.removesuffix(f'/{run.name}')} \\",
            " ".join([f"    --run-name {run.name} {self.device}", "--no-wandb", *options]),
            existing=[*rendered, *existing],
        )

    def paper_rules(self, folder: str, results: list[str], own: dict[str, set[str]]) -> Generator[str, None, list[str]]:
        """Yield the rules that draw the figures and tables of some results. Returns the captions, written last."""
        beside = self.study.beside(folder.removeprefix(f"{self.here}/").removesuffix("/paper"))
        runs, group = f"{folder}/.runs", f"{folder}/group/group.json"
        files = [f"{result}/{kind}.json" for result in [*results, *beside] for kind in ("evaluation", "analysis")]
        yield f"files-{folder} := {' '.join(files)}"
        yield from self.list_rule(folder, results)
        names = list(own)
        if sum(Path(result).name.startswith("control-s") for result in results) > 1:
            yield from self.rule(
                group,
                [runs, "$(GROUP)", f"$(files-{folder})"],
                f"== group: {folder} (seconds)",
                f"{self.bin}/pose-topo analyze --group $$(cat {runs}) --out {folder}/group",
            )
        else:
            names.remove(GROUP_TABLE)  # there is nothing to compare over seeds
        for name in names:
            source = f"--results @{runs}" + "".join(f" --reference {result}" for result in beside)
            yield from self.rule(
                f"{folder}/{name}.caption.md",
                [*([group] if name == GROUP_TABLE else [runs, f"$(files-{folder})"]), *sorted(own[name]), "$(DRAW)"],
                f"== draw: {folder}/{name} (seconds)",
                f"{self.bin}/python -m paper_figures {name} {f'--group {group}' if name == GROUP_TABLE else source} \\",
                f"    --out {folder} --if-there",
            )
        return [f"{folder}/{name}.caption.md" for name in names]

    def list_rule(self, folder: str, results: list[str]) -> Iterator[str]:
        """Yield the rule for the list of the results folders that are shown, which is written only where it differs."""
        path = Path(f"{folder}/.runs")
        is_same = path.is_file() and path.read_text(encoding="utf-8").split() == results
        yield f"{path}:{'' if is_same else ' FORCE'}{self.after([])}"
        yield f"\t@mkdir -p {folder} && printf '%s\\n' {' '.join(results)} >$@\n"

    def rule(
        self, target: str, needs: Sequence[str], title: str, *commands: str, existing: Sequence[str] = ()
    ) -> Iterator[str]:
        """Yield a rule that prints what it does. The files `existing` need not be older than the target."""
        yield f"{target}: {' '.join(needs)}".rstrip() + self.after(existing)
        yield f'\t@echo "{title}"'
        yield from (f"\t{command}" if command.startswith(" ") else f"\t@{command}" for command in commands)
        yield ""

    def after(self, existing: Sequence[str]) -> str:
        """Return the order-only prerequisites: the environment, and what is given."""
        return f" | {' '.join([*self.ready, *existing])}" if self.ready or existing else ""


def write_rules(path: Path, study: Study, finished: bool) -> None:
    """Write the rules, unless the file already holds them: make starts again where they have changed."""
    text = "\n".join(Rules(study, finished).lines()) + "\n"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        unfinished.write_text(text, encoding="utf-8")
        unfinished.replace(path)


# ---- what it costs

BENCHMARKS = ROOT / "docs" / "benchmarks"
ANNOTATED = 28_883  # people of MPII that are cropped, including those on neither side of Tompson's split
LSPET_PEOPLE = 10_000
PAPER_PEOPLE = 11_000  # people who are alone in their photograph and have at least 12 joints, roughly
VALIDATION = 1 / 3  # the time of a forward pass relative to a training step
ADAM = 3  # last.pt holds the weights and two moments; best.pt holds the weights once more


def speeds() -> dict[str, dict[tuple[str, int, int], tuple[float, float]]]:
    """Return, for each machine of docs/benchmarks, (backbone, input, batch) -> images/s and peak memory in GB."""
    found: dict[str, dict[tuple[str, int, int], tuple[float, float]]] = defaultdict(dict)
    for path in sorted(BENCHMARKS.glob("*.json")):
        content = json.loads(path.read_text(encoding="utf-8"))
        rates = found[content["machine"]["device"]]
        for row in (row for row in content.get("rows", []) if not row["compiled"]):
            memory = row["peak_memory_mb"].get("cuda", row["peak_memory_mb"]["rss"])
            rates[row["arch"], row["input"], row["batch"]] = (row["images_per_s"], memory / 1e3)
        if "images_per_s_full" in content:
            setting = content["setting"]
            key = setting["arch"], setting["input"], setting["batch"]
            rates[key] = (content["images_per_s_full"], content["peak_rss_mb"] / 1e3)
    return found


def people(data: Path, protocol: str) -> tuple[int, int]:
    """Return how many people are trained on and held out."""
    from pose_topo.data.splits import TOMPSON_SIZES

    share = PROTOCOLS[protocol].val_split
    manifest = data / "manifest.json"
    if manifest.is_file():
        total = json.loads(manifest.read_text(encoding="utf-8"))["people"]
    elif rendered := re.fullmatch(r"synthetic-(\d+)", data.name):
        total = int(rendered[1])
    elif protocol == "photographs":
        return round(LSPET_PEOPLE * (1 - 2 * share)), round(LSPET_PEOPLE * share)  # a third part is for tuning
    elif protocol == "paper":
        total = PAPER_PEOPLE
    else:
        return TOMPSON_SIZES["train"][0], TOMPSON_SIZES["val"][0]
    return round(total * (1 - share)), round(total * share)


def crop_bytes(data: Path, protocol: str) -> tuple[str, int, int]:
    """Return the framing and input size of the crops of a protocol, which name a store, and the bytes of the store."""
    from pose_topo.data.people import CropSettings
    from pose_topo.data.splits import TOMPSON_SIZES

    recipe, count = PROTOCOLS[protocol], sum(people(data, protocol))
    if count == sum(side[0] for side in TOMPSON_SIZES.values()):
        count = ANNOTATED
    side = CropSettings(recipe.framing, recipe.input_size, False).side
    return recipe.framing, recipe.input_size, count * side**2 * 3


def parameters(arch: str) -> int:
    """Return the number of parameters of the topographic network."""
    import torch

    from pose_topo.models.pose import build_model
    from pose_topo.study.config import Data, RunConfig, Topography

    with torch.device("meta"):
        model = build_model(RunConfig(arch, PROTOCOLS["standard"], Data.at("mpii"), Topography()))
    return sum(p.numel() for p in model.parameters())


def print_plan(study: Study) -> None:
    """Print what the runs of this study cost. It needs the installed packages.

    Times are people x epochs / (images/s), with the speeds in docs/benchmarks; a backbone
    that was not measured has no time.
    """
    runs, data = study.runs(), Path(study.data)
    groups = Counter((run.recipe, run.protocol, run.arch) for run in runs)
    measured, hours, unmeasured, disk = speeds(), defaultdict(float), Counter(), 0.0
    print(f"{len(runs)} runs on {data}:")
    for (name, protocol, arch), count in groups.items():
        recipe = PROTOCOLS[protocol]
        epochs = int(study.epochs or recipe.epochs)
        train, val = people(data, protocol)
        disk += count * 4 * (ADAM + 1) * parameters(arch) / 1e9
        line = f"  {name}, {arch}: {count} runs of {epochs} epochs, {train:,} people to train on, {val:,} held out"
        for device, rates in measured.items():
            if found := rates.get((arch, recipe.input_size, recipe.batch_size)):
                spent = count * epochs * (train + VALIDATION * val) / found[0] / 3600
                hours[device] += spent
                line += f"; {spent:.1f} h and {found[1]:.1f} GB on {device}"
            else:
                unmeasured[device] += count
                line += f"; not measured on {device}"
        print(line)
    disk += sum(size for *_, size in {crop_bytes(data, protocol) for _, protocol, _ in groups}) / 1e9
    for device, spent in hours.items():
        but = f", without {unmeasured[device]} runs that were not measured" if unmeasured[device] else ""
        print(f"training, one run after another: {spent:.1f} h on {device}{but}")
    print(f"disk: {disk:.0f} GB for checkpoints and crops, besides the photographs")
    print("evaluation, analysis and figures: minutes per run, without a GPU")


def main(arguments: list[str]) -> None:
    """Run the command."""
    given = dict(word.split("=", 1) for word in arguments if "=" in word)
    rest = [word for word in arguments if "=" not in word]
    try:
        study = Study(given)
        if "--plan" in rest:
            print_plan(study)
        else:
            write_rules(Path(rest[0]), study, "--finished" in rest)
    except (UsageError, ValueError) as error:
        sys.exit(f"study: {error}")


if __name__ == "__main__":
    main(sys.argv[1:])
