"""Make the folder that is deposited in an archive such as Zenodo: dist/pose_topo-VERSION.

    .venv/bin/python tools/release.py OUT [--runs DIR --results DIR] [--record FILE]

The folder holds the code, the lock and the reference results (one .tar.gz of what git tracks), CITATION.cff and
.zenodo.json with version and date, an SBOM of the image's packages, the networks with a card each, and SHA256SUMS. The
networks are the released one and those finished runs in DIR whose results lie in the folder of results. The same commit
and the same runs give the same bytes: names are sorted, and the only date is that of the commit.
"""

from __future__ import annotations

import argparse
import gzip
import io
import re
import shutil
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml  # wandb, which is in the lock, needs it

from paper_figures.docs import weight_table
from paper_figures.lib.tables import pipe
from pose_topo.commands.prepare import locked
from pose_topo.core.errors import PoseTopoError, guarded
from pose_topo.core.files import read_json, read_toml, sha256_file, write_json, write_text
from pose_topo.core.log import log
from pose_topo.core.machine import ROOT
from pose_topo.study import joints
from pose_topo.study.backbones import BACKBONES
from pose_topo.study.config import Data
from pose_topo.study.runs import RELEASED, Checkpoint, load_checkpoint, reported_checkpoint, save_safetensors

IMAGE = {"sys_platform": "linux", "platform_machine": "x86_64", "python_full_version": "3.12.3"}  # of Ubuntu 24.04


@dataclass(frozen=True)
class Version:
    """The version that is released, its commit and the commit's date (YYYY-MM-DD)."""

    number: str
    commit: str
    date: str

    @property
    def name(self) -> str:
        return f"pose_topo-{self.number}"


def version_of(root: Path) -> Version:
    """Return the version of a checkout.

    Raises:
        PoseTopoError: it is no checkout, or pyproject.toml names no version.
    """
    number = read_toml(root / "pyproject.toml").get("project", {}).get("version")
    if not isinstance(number, str):
        raise PoseTopoError(f"{root / 'pyproject.toml'} names no version")
    commit, date = _git(root, "show", "--no-patch", "--format=%H %cs", "HEAD").split()
    return Version(number, commit, date)


# ---- the code


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True)
    if done.returncode:
        raise PoseTopoError(f"git {arguments[0]} failed ({' '.join(done.stderr.split())}): a checkout is needed")
    return done.stdout


def pack(root: Path, version: Version, path: Path) -> None:
    """Write the files that git tracks as a .tar.gz, with REVISION and SHA256SUMS.

    Raises:
        PoseTopoError: one of them differs from the commit, or `root` is no checkout.
    """
    if changed := _git(root, "status", "--porcelain", "--untracked-files=no").splitlines():
        raise PoseTopoError(f"{len(changed)} files differ from the commit (such as{changed[0][2:]}): commit them first")
    names = sorted(filter(None, _git(root, "ls-files", "-z").split("\0")))
    sums = "".join(f"{sha256_file(root / name)}  {name}\n" for name in names)
    added = {"REVISION": f"{version.commit}\n".encode(), "SHA256SUMS": sums.encode()}
    with (
        path.open("wb") as out,
        gzip.GzipFile(fileobj=out, mode="wb", filename="", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name in (*names, *added):
            content = added[name] if name in added else (root / name).read_bytes()
            entry = tarfile.TarInfo(f"{version.name}/{name}")  # owner 0 and time 0 unless told otherwise
            is_program = name not in added and (root / name).stat().st_mode & 0o100
            entry.size, entry.mode = len(content), 0o755 if is_program else 0o644
            tar.addfile(entry, io.BytesIO(content))


# ---- what is said about it


def zenodo(cited: dict[str, Any]) -> dict[str, Any]:
    """Return what Zenodo asks for in .zenodo.json, from the content of the released CITATION.cff."""
    named = [one.get("name") or f"{one['family-names']}, {one['given-names']}" for one in cited["authors"]]
    works = cited["references"]
    urls = [work["repository-code"] for work in works if "repository-code" in work]
    preprints = [f"arXiv:{one}" for work in works for one in re.findall(r"arXiv (\d{4}\.\d{5})", work.get("notes", ""))]
    related = [("url", urls), ("arxiv", preprints)]
    return {
        "title": cited["title"],
        "description": cited["abstract"],
        "upload_type": "software",
        "creators": [{"name": name} for name in named],
        "license": cited["license"],
        "keywords": cited["keywords"],
        "version": cited["version"],
        "publication_date": cited["date-released"],
        "related_identifiers": [
            {"identifier": one, "scheme": scheme, "relation": "cites"} for scheme, found in related for one in found
        ],
    }


def sbom(root: Path, version: Version) -> dict[str, Any]:
    """Return the packages of the container image as CycloneDX 1.6.

    They are the base image, the distribution's packages that the Dockerfile names, and the locked Python packages of
    Linux. The versions of the distribution's packages are those of its snapshot, which is named.

    Raises:
        PoseTopoError: the Dockerfile has another form.
    """
    dockerfile = (root / "docker" / "Dockerfile").read_text(encoding="utf-8")
    base = re.search(r"^ARG BASE=(\S+):(\S+?)@(sha256:[0-9a-f]{64})$", dockerfile, re.M)
    snapshot = re.search(r"--snapshot (\w+)", dockerfile)
    named = re.search(r"apt-get install [^\n]*\\\n([^&]*)\\\n", dockerfile)
    if not (base and snapshot and named):
        raise PoseTopoError("docker/Dockerfile: its base, snapshot or packages were not found")
    name, tag, digest = base.groups()
    system = f"ubuntu-{tag.rpartition('ubuntu')[2]}"
    hashes = [{"alg": "SHA-256", "content": digest.removeprefix("sha256:")}]
    parts = [
        {"type": "container", "name": name, "version": tag, "purl": f"pkg:docker/{name}@{digest}", "hashes": hashes}
    ]
    for package in named[1].split():
        purl = f"pkg:deb/ubuntu/{package.replace('+', '%2B')}?distro={system}"
        day = {"name": "apt:snapshot", "value": snapshot[1]}
        parts.append({"type": "library", "name": package, "purl": purl, "properties": [day]})
    for package, exact in sorted(locked((root / "requirements.lock").read_text("utf-8"), IMAGE).items()):
        purl = f"pkg:pypi/{package}@{exact}"
        parts.append({"type": "library", "name": package, "version": exact, "purl": purl})
    components = [{"bom-ref": part["purl"], **part} for part in parts]
    itself = {"type": "application", "bom-ref": version.name, "name": "pose_topo", "version": version.number}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, version.commit)}",
        "version": 1,
        "metadata": {"timestamp": f"{version.date}T00:00:00Z", "component": itself},
        "components": components,
        "dependencies": [{"ref": version.name, "dependsOn": [one["bom-ref"] for one in components]}],
    }


# ---- the networks


def released_card() -> str:
    """Return the card of the released network, whose links lead to the code, for a reader of the release."""
    text = RELEASED.with_name("README.md").read_text(encoding="utf-8")
    text = re.sub(r"<!-- /?made[^>]*-->\n", "", text)
    return re.sub(r"\[([^]]+)\]\(\.\./\.\./[^)]+\)", r"`\1` in the archive of the code", text)


def finished(runs: Path, results: Path) -> Iterator[tuple[Path, Path]]:
    """Yield the folder and the results folder of each finished run whose checkpoint was scored and analyzed. A message
    says which runs are left out, and why."""
    for marker in sorted(runs.glob("*/*/*/*/provenance.json")):
        run = marker.parent
        result = results / run.relative_to(runs)
        files = [result / f"{kind}.json" for kind in ("evaluation", "analysis")]
        if missing := [file for file in files if not file.is_file()]:
            log.warning(f"{run} is left out: {missing[0]} is missing; `make figures` writes it")
        elif {read_json(file)["checkpoint_sha256"] for file in files} != {sha256_file(reported_checkpoint(run))}:
            log.warning(f"{run} is left out: {result} has the results of another checkpoint; `make figures` updates it")
        else:
            yield run, result


def write_network(run: Path, result: Path, folder: Path) -> None:
    """Write the weights of a run, its results and its card."""
    checkpoint = load_checkpoint(reported_checkpoint(run))
    # without the folders of the machine that trained it
    config, name = checkpoint.config, checkpoint.config.data.name
    data = Data(f"{name}/{Path(config.data.mat_path).name}", f"{name}/images", name=name)
    weights = config.weights and Path(config.weights).name
    config = replace(config, data=data, weights=weights, device="auto", threads=None)
    checkpoint = replace(checkpoint, config=config)
    save_safetensors(folder / "model.safetensors", checkpoint, half=False)  # the scores are of these very weights
    for kind in ("evaluation", "analysis"):
        shutil.copyfile(result / f"{kind}.json", folder / f"{kind}.json")
    sessions = read_json(run / "provenance.json")["sessions"]
    scores, measures = (read_json(folder / f"{kind}.json") for kind in ("evaluation", "analysis"))
    write_text(folder / "README.md", card(folder, checkpoint, scores, measures, sessions))


def card(
    folder: Path, checkpoint: Checkpoint, scores: dict[str, Any], measures: dict[str, Any], sessions: Sequence[Any]
) -> str:
    """Return the model card of a network. Its numbers come from the run's result files.

    Args:
        folder: the folder of the network, which holds model.safetensors.
        scores, measures: the contents of evaluation.json and analysis.json.
        sessions: those of provenance.json.
    """
    config, name = checkpoint.config, folder.name
    recipe, title = config.recipe, BACKBONES[config.arch].title
    kind = "SimpleBaseline" if config.topography is None else "TopoModel"
    start = {"none": "random weights", "imagenet": "ImageNet weights", "released": "the released network"}
    sources = [scores["data"], *{"imagenet": ["imagenet-1k"], "released": ["lspet"]}.get(recipe.start, [])]
    is_free = scores["rendered"] and recipe.start == "none"
    low, high = scores["intervals"]["0.5"]["mean"]
    mean = scores["pckh"]["0.5"]["mean"]
    about = {
        "library_name": "pose_topo",
        "pipeline_tag": "keypoint-detection",
        **({"license": "mit"} if is_free else {"license": "other", "license_name": "research-only"}),
        "datasets": sources,
        "metrics": ["pckh", "pck", "morans-i"],
        "tags": ["human-pose-estimation", "topographic-neural-networks"],
        "model-index": [{
            "name": name,
            "results": [{
                "task": {"type": "keypoint-detection"},
                "dataset": {"name": scores["data"], "type": scores["data"]},
                "metrics": [{"type": "pckh", "name": "PCKh@0.5", "value": mean}],
            }],
        }],
    }  # fmt: skip
    moran, pck, groups = measures["moran"], scores["pck"]["mean"], scores["pckh"]["0.5"]["groups"]
    rows = [
        ("PCKh@0.5, all scored joints", f"{mean:.2f} [{low:.2f}, {high:.2f}]"),
        *((f"PCKh@0.5, {group}", _two(value)) for group, value in groups.items()),
        ("PCKh@0.1, all scored joints", _two(scores["pckh"]["0.1"]["mean"])),
        ("PCK@0.2 of the torso", _two(pck)),
        ("mean Moran's I of |w| on the grid", f"{moran['mean_I']:.4f}"),
        ("its p", f"{moran['p_mean']:.4f}"),
        ("its expectation without topography", f"{moran['expected']:.4f}"),
    ]
    hours = sum(session["wall_seconds"] for session in sessions) / 3600
    last = sessions[-1]
    terms = (
        "Trained on rendered people only, from random weights. MIT, as the code."
        if is_free
        else f"Trained on these data, or started from weights that were: {', '.join(sources)}. Their terms apply: this "
        "file is for research only."
    )
    return f"""---
{yaml.safe_dump(about, sort_keys=False, allow_unicode=True)}---

# {name}

`{kind}` with a {title}. It finds the 16 joints of MPII Human Pose of one person in a box of {recipe.input_size} x
{recipe.input_size} pixels. It is one run of the study of pose_topo.

| setting | value |
|---|---|
| arm | {config.arm} |
| protocol | {recipe.protocol} |
| seed | {config.seed} |
| start | {start.get(recipe.start, "the network of another run")} |
| epochs | {checkpoint.epoch} |
| optimizer | {recipe.optimizer}, learning rate {recipe.lr:g} ({recipe.schedule}), batches of {recipe.batch_size} |
| training | {hours:.2f} hours on {last["device"]} in {last["precision"]}, torch {last["torch"]} |

## Scores

{pipe(("measure", "value"), rows)}
PCKh and PCK are in percent, over {scores["people"]:,} held-out people of {scores["data"]}. The interval is a
{scores["intervals"]["level"]:g}% interval by the {scores["intervals"]["method"]}. `evaluation.json` and `analysis.json`
hold these numbers and all others.

## Weights

```python
from safetensors.torch import load_file

weights = load_file("model.safetensors")  # a dictionary of tensors
```

`pose-topo predict model.safetensors photo.jpg` and `pose-topo evaluate model.safetensors --data FOLDER` take the file
as it is. Its metadata holds the settings of the run.

{weight_table(folder / "model.safetensors")}
The input is {recipe.colours.upper()}, normalised with ImageNet's mean and standard deviation. The heatmaps are of
{", ".join(joints.NAMES)}, in this order.

## Data and licence

{terms}

## Limits

The network expects one person, and finds 16 joints in every picture, also where nobody is. It was trained for a study
of topography, not to be as accurate as possible. It must not be used for decisions about people.
"""


def _two(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


# ---- the folder


def make(root: Path, out: Path, runs: Path | None = None, results: Path | None = None) -> Path:
    """Write the release of a checkout to `out`, and return its folder. An older one of this version is replaced.

    Raises:
        PoseTopoError: `root` is no checkout or has uncommitted changes, or a run is broken. Nothing is replaced then.
    """
    version = version_of(root)
    with _whole(out / version.name) as folder:
        pack(root, version, folder / f"{version.name}.tar.gz")
        cited = (root / "CITATION.cff").read_text(encoding="utf-8")
        cited += f'version: "{version.number}"\ndate-released: "{version.date}"\n'
        write_text(folder / "CITATION.cff", cited)
        write_json(folder / ".zenodo.json", zenodo(yaml.safe_load(cited)))
        for name in ("requirements.lock", "LICENSE"):
            shutil.copyfile(root / name, folder / name)
        write_json(folder / "sbom.cdx.json", sbom(root, version))
        networks = folder / "networks"
        (networks / "released").mkdir(parents=True)
        for name in (RELEASED.name, "scores.json"):
            shutil.copyfile(RELEASED.with_name(name), networks / "released" / name)
        write_text(networks / "released" / "README.md", released_card())
        for run, result in finished(runs, results) if runs and results else ():
            network = networks / "-".join(run.relative_to(runs).parts)
            network.mkdir()
            write_network(run, result, network)
        write_text(folder / "README.md", contents(version, networks))
        sums = [f"{sha256_file(folder / name)}  {name}\n" for name in sizes(folder)]
        write_text(folder / "SHA256SUMS", "".join(sums))
    return out / version.name


def contents(version: Version, networks: Path) -> str:
    """Return the README of the release."""
    names = "\n".join(f"- [{one.name}](networks/{one.name}/README.md)" for one in sorted(networks.iterdir()))
    return f"""# pose_topo {version.number}

The release of commit {version.commit} ({version.date}).

| file | content |
|---|---|
| `{version.name}.tar.gz` | the code, the lock and the reference results (`paper_figures/reference`) |
| `networks/` | trained networks: weights as safetensors, a card and the scores of each |
| `requirements.lock` | the Python packages, pinned by hashes |
| `sbom.cdx.json` | the packages of the container image, as CycloneDX |
| `CITATION.cff`, `.zenodo.json` | how to cite this version; what Zenodo asks for |
| `SHA256SUMS` | the hash of every file: `sha256sum -c SHA256SUMS` verifies them |

The code is under the MIT licence (`LICENSE`). The licence of a network is in its card.

{names}
"""


def sizes(folder: Path) -> dict[str, int]:
    """Return the size in bytes of each file of a release, by its name in it, sorted."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """Yield a new folder beside `folder`, which takes its place once everything is written."""
    unfinished, old = (folder.with_name(f".{folder.name}.{state}") for state in ("unfinished", "old"))
    for left in (unfinished, old):
        shutil.rmtree(left, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        if folder.is_dir():
            folder.rename(old)
        unfinished.rename(folder)
    finally:
        for left in (unfinished, old):
            shutil.rmtree(left, ignore_errors=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="the folder in which the release is written")
    parser.add_argument("--runs", type=Path, help="finished runs, laid out as <data>/<recipe>/<backbone>/<arm>-s<seed>")
    parser.add_argument("--results", type=Path, help="the results of these runs, laid out alike")
    parser.add_argument("--record", type=Path, help="write the size of the release to this JSON file")
    asked = parser.parse_args(arguments)

    def action() -> int:
        folder = make(ROOT, asked.out, asked.runs, asked.results)
        found = sizes(folder)
        total, count = sum(found.values()), sum(name.endswith(".safetensors") for name in found)
        if asked.record:
            weights = sum(size for name, size in found.items() if name.startswith("networks/"))
            write_json(asked.record, {"networks_bytes": weights, "other_bytes": total - weights})
        log.info(f"written: {folder}: {len(found)} files, {total / 1e6:.1f} MB, networks: {count}")
        return 0

    return guarded("release", action)


if __name__ == "__main__":
    sys.exit(main())
