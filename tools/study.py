"""Print the Make rules of a part of the study. The standard library suffices for it.

    tools/study.py FILE [--finished] [NAME=VALUE ...]    write the rules to FILE, unless it already holds them

pose_topo/study/study.toml says what the study consists of. The settings NAME=VALUE are the variables of the Makefile;
they take precedence. With --finished the runs are those that exist, and no rule trains one.

The graph: data -> run (provenance.json is written last) -> evaluation.json, analysis.json, for some arms
robustness.json -> group.json -> figures and tables (`.drawn` is written last) -> claims.json -> report.html. A run
depends on no code, so that newer code never trains it again. Everything else is made again when the code that makes it
changes.
"""

from __future__ import annotations

import ast
import json
import re
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pose_topo.core.errors import PoseTopoError  # noqa: E402  # found by the line above
from pose_topo.study.arms import Arm  # noqa: E402
from pose_topo.study.plan import REFERENCE, Run, Study  # noqa: E402

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
    """Return the script of each figure and table by its name, in the order of the paper, without importing the scripts,
    which needs the installed packages."""
    found = []
    for path in (path for folder in SCRIPTS for path in (ROOT / folder).glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
                given = {k.arg: k.value.value for k in node.value.keywords if isinstance(k.value, ast.Constant)}
                if {"name", "place"} <= given.keys():
                    found.append((given["place"], given["name"], path))
    return {name: path for _, name, path in sorted(found)}


# ---- the rules


def recorded() -> dict[str, dict[str, Any]]:
    """Return how long the steps of finished demos took, by protocol (`tools/costs.py took`): on the fastest machine."""
    contents = [json.loads(path.read_text("utf-8")) for path in (ROOT / "docs" / "benchmarks").glob("*-took.json")]
    return {one["protocol"]: one for one in sorted(contents, key=lambda one: -one["total"])}


class Rules:
    """The Make rules of a part of the study, as `text`, and the `targets` that they make."""

    def __init__(self, study: Study, finished: bool) -> None:
        self.study, self.finished = study, finished
        self.bin = f"{study.text('VENV')}/bin"
        # with several devices, tools/on_device.sh adds the option
        self.device = f" --device {study.devices[0]}" if len(study.devices) == 1 else ""
        self.ready = [".venv/.ready"] if self.bin == ".venv/bin" else []
        # what each target is expected to take, where a run of this protocol was timed and one runs after another
        is_timed = not (finished or study.reference or study.launch) and len(study.devices) == 1
        is_timed = is_timed and study.protocol in recorded()
        self.expected = f"{study.out}/{study.data_name}/{study.recipe}.times" if is_timed else ""
        self.here = f"{study.out}/{'reference' if study.reference else study.data_name}"
        self.runs: list[Run] = []
        self.targets = {f"{study.data}/manifest.json": "data"}  # target -> its step, e.g. "train"
        self.groups: dict[str, list[str]] = {}  # folder of figures and tables -> the results folders that they show
        if study.reference:
            for path in sorted(REFERENCE.glob("*/*/analysis.json")):
                self.groups.setdefault(f"{self.here}/{path.parts[-3]}", []).append(str(path.parent))
        else:
            self.runs = study.finished_runs() if finished else study.runs()
            for run in self.runs:
                self.groups.setdefault(f"{self.here}/{run.group}/paper", []).append(f"{self.here}/{run}")
        self.text = "".join(f"{line}\n" for line in self.lines())

    def lines(self) -> Iterator[str]:
        """Yield the lines of the rules."""
        published = f"{self.study.out}/newell/evaluation.json"  # once it is fetched and scored (docs/metrics.md)
        published = [published] if Path(published).is_file() else []
        lists = [f"@{folder}/.runs" for folder in self.groups]
        judged = ["--results", *lists, *(f"--predictions-evaluation {path}" for path in published)]
        code = {name: code_of(f"paper_figures.{path.parent.name}.{path.stem}") for name, path in scripts().items()}
        yield "# The Make rules of a part of the study, printed by tools/study.py: `make` overwrites them."
        yield f"HERE := {self.here}"
        yield f"RUN_FOLDER := {self.study.run_folder}"
        yield f"JUDGED := {' '.join(judged)} --out {self.here}"
        yield f"BACKBONES := {' '.join(self.study.backbones)}"
        yield f"DEMO_DATA := {self.study.rendered('demo')}"
        start = [self.study.start_folder] if self.study.start else []
        trained = [*start, *(f"{self.study.run_folder}/{run}" for run in self.runs)]
        yield f"TRAINED := {' '.join(f'{folder}/provenance.json' for folder in trained)}"
        yield "# the code behind each step, which is done again when the code changes"
        for name, files in {
            "EVALUATE": code_of("pose_topo.stages.evaluate"),
            "ANALYZE": code_of("pose_topo.stages.analyze"),
            "ROBUSTNESS": code_of("pose_topo.stages.robustness"),
            "GROUP": code_of("pose_topo.stages.compare"),
            "DRAW": set().union(*code.values()),
            "JUDGE": code_of("paper_figures.claims.check"),
            "REPORT": code_of("paper_figures.report.page"),
        }.items():
            yield f"{name} := {' '.join(sorted(files))}"
        if self.study.start and self.runs and not self.finished:
            yield "\n# ---- the network from which all runs start\n"
            yield from self.train_rule(self.study.start, self.study.start_folder, self.study.start_data)
        for run in self.runs:
            yield f"\n# ---- {run}\n"
            yield from self.run_rules(run, f"{self.study.run_folder}/{run}", f"{self.here}/{run}")
        drawn: list[str] = []
        for folder, results in self.groups.items():
            yield f"\n# ---- the figures and tables in {folder}\n"
            drawn.append((yield from self.paper_rules(folder, results, code)))
        yield "\n# ---- the claims and the report\n"
        yield from self.list_rule(self.here, [result for results in self.groups.values() for result in results])
        claims, report = f"{self.here}/claims.json", f"{self.here}/report.html"
        shown = [f"{folder}/.runs $(files-{folder})" for folder in self.groups]
        yield from self.rule(
            claims,
            [f"{self.here}/.runs", *shown, *published, "$(JUDGE)", f"$(wildcard {REFERENCE}/*/*/*.json)"],
            f"== claims: {self.here}",
            f"{self.bin}/python -m paper_figures.claims.check $(JUDGED) --no-fail",
        )
        first = []
        if self.study.rendered(self.study.name) and not self.finished:
            first = [f"{self.here}/people.png"]
            yield from self.rule(
                first[0],
                [],
                f"== show: {first[0]}, the first picture: people of the data set as they are annotated",
                f"{self.bin}/pose-topo show {self.study.data} --protocol {self.study.protocol} --out $@ >/dev/null",
                existing=[f"{self.study.data}/manifest.json"],
            )
        yield from self.rule(
            report,
            [*first, claims, "$(REPORT)", *drawn],
            f"== report: {report}",
            f"{self.bin}/python -m paper_figures.report.page --claims {claims} --papers {' '.join(self.groups)} \\",
            f"    --results {' '.join(lists)} --out {report}",
        )
        if self.expected:
            times = Path(self.expected)
            known = {line.split()[1] for line in times.read_text().splitlines()} if times.is_file() else set()
            is_new = not self.targets.keys() <= known  # other seeds or arms than those that were timed
            yield f"{times}:{' FORCE' if is_new else ''}{self.after([])}"
            yield '\t@echo "== time: a few training steps, to say how long all of this takes here"'
            yield f"\t@{self.bin}/python tools/costs.py expect $@ $(STUDY_SETTINGS)\n"

    def run_rules(self, run: Run, folder: str, result: str) -> Iterator[str]:
        """Yield the rules that train, evaluate and analyze a run."""
        study, place = self.study, f"{self.study.data_name}/{run}"
        if not self.finished:
            options = [f"--epochs {study.epochs}"] if study.epochs else []
            options += [f"--start {study.start_folder}"] if study.start else []
            options += [study.train.replace("$", "$$")] if study.train else []
            existing = [f"{study.start_folder}/provenance.json"] if study.start else []
            yield from self.train_rule(run, folder, study.data, options, existing)
        yield from self.rule(
            f"{result}/evaluation.json",
            [f"{folder}/provenance.json", "$(EVALUATE)"],
            f"== evaluate: {run}",
            f"{self.tool(f'{place}/evaluate')} evaluate {folder} --out {result}{self.device}",
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
            f"== analyze: {run}",
            f"{self.tool(f'{place}/analyze')} analyze {folder} --out {result}{self.device}{more}",
        )
        # it takes minutes, so `make figures` measures it only if it is asked for, or was measured before
        asked = not self.finished or study.text("ROBUST_ARMS") or Path(result, "robustness.json").exists()
        if asked and run.arm in study.robust_arms:
            yield from self.rule(
                f"{result}/robustness.json",
                [f"{folder}/provenance.json", "$(ROBUSTNESS)"],
                f"== robustness: {run}",
                f"{self.tool(f'{place}/robustness')} analyze {folder} --robustness --out {result}{self.device}",
            )

    def tool(self, step: str) -> str:
        """Return how the command of a heavy step begins: what decides when and where it runs, and `pose-topo`.

        Args:
            step: the data, the run and what is done, e.g. "mpii/standard/resnet18/topo-s0/train".
        """
        study, tool = self.study, f"{self.bin}/pose-topo"
        if study.launch:
            return f"bash tools/launch.sh {study.out}/logs {step} {study.launch.replace('$', '$$')} {tool}"
        # a lock per device, because two trainings on one device only slow each other, also under -j
        lock = f"{study.checkpoints}/.lock"
        if len(study.devices) == 1:
            return f"flock {lock} {tool}"
        return f'bash tools/on_device.sh {lock} "{" ".join(study.devices)}" {tool}'

    def train_rule(
        self, run: Run, folder: str, data: str, options: Sequence[str] = (), existing: Sequence[str] = ()
    ) -> Iterator[str]:
        """Yield the rule that trains a run on the data in the folder `data`."""
        rendered = [f"{data}/manifest.json"] if data.startswith("data/synthetic-") else []
        tool = self.tool(f"{Path(data).name}/{run}/train")
        yield from self.rule(
            f"{folder}/provenance.json",
            [],
            f"== train: {run} ({Path(data).name})",
            f"mkdir -p {self.study.checkpoints}",
            f"{tool} {' '.join(Arm.parse(run.arm).train_options())} --arch {run.arch} --seed {run.seed} \\",
            f"    --data {data} --protocol {run.protocol} --save-dir {folder.removesuffix(f'/{run.name}')} \\",
            " ".join([f"    --run-name {run.name}{self.device}", "--no-wandb", *options]),
            existing=[*rendered, *existing],
        )

    def paper_rules(self, folder: str, results: list[str], own: Iterable[str]) -> Generator[str, None, str]:
        """Yield the rules that draw the figures and tables of some results. Returns the file that is written last.

        Args:
            own: the names of the figures and tables.
        """
        beside = self.study.beside(folder.removeprefix(f"{self.here}/").removesuffix("/paper"))
        runs, group = f"{folder}/.runs", f"{folder}/group/group.json"
        files = [f"{result}/{kind}.json" for result in [*results, *beside] for kind in ("evaluation", "analysis")]
        files += [file for result in results if (file := f"{result}/robustness.json") in self.targets]
        yield f"files-{folder} := {' '.join(files)}"
        yield from self.list_rule(folder, results)
        names, source = list(own), f"--results @{runs}" + "".join(f" --reference {result}" for result in beside)
        needs = [runs, f"$(files-{folder})", "$(DRAW)"]
        if sum(Path(result).name.startswith("control-s") for result in results) > 1:
            yield from self.rule(
                group,
                [runs, "$(GROUP)", f"$(files-{folder})"],
                f"== group: {folder}",
                f"{self.bin}/pose-topo analyze --group $$(cat {runs}) --out {folder}/group",
            )
            source, needs = f"{source} --group {group}", [group, *needs]
        else:
            names.remove(GROUP_TABLE)  # there is nothing to compare over seeds
        # one process draws all of them, because each would need seconds to start
        yield from self.rule(
            f"{folder}/.drawn",
            needs,
            f"== draw: the figures and tables in {folder}",
            f"{self.bin}/python -m paper_figures {' '.join(names)} {source} \\",
            f"    --out {folder} --if-there && touch $@",
        )
        return f"{folder}/.drawn"

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
        self.targets[target] = title.removeprefix("== ").partition(":")[0]
        left = f" $$(bash tools/left.sh {self.expected})" if self.expected else ""
        yield f"{target}: {' '.join(needs)}".rstrip() + self.after([*filter(None, [self.expected]), *existing])
        yield f'\t@echo "{title}{left}"'
        yield from (f"\t{command}" if command.startswith(" ") else f"\t@{command}" for command in commands)
        yield ""

    def after(self, existing: Sequence[str]) -> str:
        """Return the order-only prerequisites: the environment, and what is given."""
        return f" | {' '.join([*self.ready, *existing])}" if self.ready or existing else ""


def write_rules(study: Study, file: str, *options: str) -> None:
    """Write the rules, unless the file already holds them: make starts again where they have changed."""
    from pose_topo.core.files import write_text  # read_study has said what is missing if Python 3.10 cannot import it

    path, text = Path(file), Rules(study, finished="--finished" in options).text
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        write_text(path, text)


def run(command: Callable[..., object]) -> None:
    """Run a command with the study of the words NAME=VALUE after the program, and with its other words."""
    settings = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    try:
        command(Study(settings), *(word for word in sys.argv[1:] if "=" not in word))
    except (PoseTopoError, ValueError) as error:
        sys.exit(f"study: {error}")


if __name__ == "__main__":
    run(write_rules)
