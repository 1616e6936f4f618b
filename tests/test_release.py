"""The release: what is in it, what its cards say, and that its bytes depend on nothing else."""

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from pose_topo.core.errors import PoseTopoError
from pose_topo.core.files import sha256_file
from pose_topo.models.pose import build_model
from pose_topo.study.config import Data, RunConfig, Topography
from pose_topo.study.protocols import PROTOCOLS
from pose_topo.study.runs import Checkpoint, load_checkpoint, save_checkpoint, write_config

ROOT = Path(__file__).resolve().parent.parent
TOOL = ROOT / "tools" / "release.py"
REFERENCE = ROOT / "paper_figures" / "reference" / "demo" / "topo-s0"
RUN = "synthetic-800/demo/resnet18/topo-s0"
pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not here")

spec = importlib.util.spec_from_file_location("release", TOOL)
assert spec is not None and spec.loader is not None
release = sys.modules["release"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(release)


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@localhost", *arguments]
    when = os.environ | {"GIT_COMMITTER_DATE": "2020-01-02T00:00:00Z"}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, env=when).stdout


def checkout(folder: Path) -> Path:
    """A tiny project of one commit, with the files that a release is made from."""
    (folder / "docker").mkdir(parents=True)
    (folder / "pyproject.toml").write_text('[project]\nversion = "1.2"\n')
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "b").mkdir()
    (folder / "b" / "é a.txt").write_text("x")
    for name in ("CITATION.cff", "LICENSE", "requirements.lock", "docker/Dockerfile"):
        shutil.copyfile(ROOT / name, folder / name)
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    return folder


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folders of runs and of results, with one finished run of random weights and the scores of another."""
    runs, results = (tmp_path_factory.mktemp("study") / name for name in ("runs", "out"))
    data = Data("/home/someone/data/annotations.mat", "/home/someone/images", name="synthetic-800")
    config = RunConfig("resnet18", PROTOCOLS["demo"], data, Topography(), arm="topo", threads=2)
    run, result = runs / RUN, results / RUN
    run.mkdir(parents=True)
    write_config(run, config)
    save_checkpoint(Checkpoint(run / "last.pt", config, 2, build_model(config).state_dict(), "0" * 64))
    shutil.copyfile(REFERENCE / "provenance.json", run / "provenance.json")
    result.mkdir(parents=True)
    for kind in ("evaluation", "analysis"):
        content = json.loads((REFERENCE / f"{kind}.json").read_text())
        content["checkpoint_sha256"] = sha256_file(run / "last.pt")
        (result / f"{kind}.json").write_text(json.dumps(content))
    return runs, results


@pytest.fixture(scope="module")
def made(study: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("release with space")
    return release.make(checkout(folder / "here"), folder / "dist", *study)


def front_matter(card: Path) -> dict:
    _, head, _ = card.read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(head)


def test_the_archive_holds_what_is_tracked(made):
    with tarfile.open(made / f"{made.name}.tar.gz") as tar:
        modes = {entry.name.partition("/")[2]: entry.mode for entry in tar}
        assert modes == {
            "b/é a.txt": 0o644, "pyproject.toml": 0o644, "run.sh": 0o755, "CITATION.cff": 0o644, "LICENSE": 0o644,
            "requirements.lock": 0o644, "docker/Dockerfile": 0o644, "REVISION": 0o644, "SHA256SUMS": 0o644,
        }  # fmt: skip
        assert {(entry.uid, entry.gid, entry.uname, entry.gname, entry.mtime) for entry in tar} == {(0, 0, "", "", 0)}
        revision, sums = (tar.extractfile(f"{made.name}/{name}") for name in ("REVISION", "SHA256SUMS"))
        here = made.parent.parent / "here"
        assert revision is not None and revision.read().decode() == git(here, "rev-parse", "HEAD")
        assert sums is not None and f"{hashlib.sha256(b'x').hexdigest()}  b/é a.txt\n" in sums.read().decode()


def test_every_file_is_summed_and_named(made):
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=made, check=True)
    summed = {line.split("  ", 1)[1] for line in (made / "SHA256SUMS").read_text().splitlines()}
    assert summed == set(release.sizes(made)) - {"SHA256SUMS"}
    text = (made / "README.md").read_text()
    assert {name for name in summed if "/" not in name and f"`{name}`" not in text} == {"README.md"}
    assert (made / "requirements.lock").read_bytes() == (ROOT / "requirements.lock").read_bytes()


def test_its_bytes_depend_on_neither_time_nor_place(made, study, tmp_path):
    second = tmp_path / "second" / "deep"
    git(tmp_path, "clone", "-q", str(made.parent.parent / "here"), str(second))
    for path in second.rglob("*"):
        os.utime(path, (1e9, 1e9))
    (second / "pyproject.toml").chmod(0o600)
    again = release.make(second, tmp_path / "dist", *study)
    assert (again / "SHA256SUMS").read_bytes() == (made / "SHA256SUMS").read_bytes()
    assert [path.name for path in again.parent.iterdir()] == [made.name]


def test_citation_and_zenodo_have_the_version_and_the_day_of_the_commit(made):
    cited = yaml.safe_load((made / "CITATION.cff").read_text(encoding="utf-8"))
    deposit = json.loads((made / ".zenodo.json").read_text(encoding="utf-8"))
    assert (cited["version"], str(cited["date-released"])) == ("1.2", "2020-01-02")
    assert (deposit["version"], deposit["publication_date"]) == ("1.2", "2020-01-02")
    assert deposit["creators"] == [{"name": one["name"]} for one in cited["authors"]]
    assert deposit["upload_type"] == "software" and deposit["title"] == cited["title"]
    named = {one["identifier"] for one in deposit["related_identifiers"]}
    assert set(re.findall(r"arXiv (\d{4}\.\d{5})", (ROOT / "CITATION.cff").read_text())) == {
        one.removeprefix("arXiv:") for one in named if one.startswith("arXiv:")
    }
    assert any(one.startswith("https://github.com/") for one in named)


def test_the_sbom_has_the_fields_that_cyclonedx_requires(made):
    bom = json.loads((made / "sbom.cdx.json").read_text(encoding="utf-8"))
    assert (bom["bomFormat"], bom["specVersion"], bom["version"]) == ("CycloneDX", "1.6", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}", bom["serialNumber"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", bom["metadata"]["timestamp"])
    parts = [bom["metadata"]["component"], *bom["components"]]
    assert all(part["type"] in ("application", "container", "library") and part["name"] for part in parts)
    refs = [part["bom-ref"] for part in parts]
    assert len(set(refs)) == len(refs) and set(bom["dependencies"][0]["dependsOn"]) == set(refs[1:])
    purls = {part["purl"].partition("@")[0].partition("?")[0]: part for part in bom["components"]}
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
    assert purls["pkg:docker/nvidia/cuda"]["hashes"][0]["content"] in dockerfile
    assert {"pkg:deb/ubuntu/g%2B%2B", "pkg:deb/ubuntu/make", "pkg:pypi/torch", "pkg:pypi/triton"} <= set(purls)
    assert "pkg:pypi/colorama" not in purls  # of Windows
    locked = re.search(r"^numpy==(\S+) ; python_full_version >= '3.12'", (ROOT / "requirements.lock").read_text(), re.M)
    assert locked is None or purls["pkg:pypi/numpy"]["version"] == locked[1]


def test_a_network_is_its_checkpoint_and_loads_by_the_safetensors_library_alone(made, study):
    file = made / "networks" / RUN.replace("/", "-") / "model.safetensors"
    checkpoint = load_checkpoint(study[0] / RUN / "last.pt")
    weights = load_file(file)
    assert weights.keys() == checkpoint.model.keys()
    assert all(weights[key].equal(value) for key, value in checkpoint.model.items())
    assert load_checkpoint(file).config.topography == checkpoint.config.topography
    assert b"/home" not in file.read_bytes()[:100_000]


def test_a_card_has_the_scores_and_the_names_of_the_weights(made):
    folder = made / "networks" / RUN.replace("/", "-")
    text, head = (folder / "README.md").read_text(encoding="utf-8"), front_matter(folder / "README.md")
    scores, measures = (json.loads((folder / f"{kind}.json").read_text()) for kind in ("evaluation", "analysis"))
    assert head["library_name"] == "pose_topo" and head["metrics"] and head["datasets"] == ["synthetic-800", "lspet"]
    assert head["license"] == "other"  # it starts from the released network, and LSPET states no licence
    assert head["model-index"][0]["results"][0]["metrics"][0]["value"] == scores["pckh"]["0.5"]["mean"]
    assert f"| {scores['pckh']['0.5']['mean']:.2f} [" in text
    assert f"| {measures['moran']['mean_I']:.4f} |" in text
    parts = tuple(re.findall(r"^\| `([\w.]+\.)` \|", text, re.M))
    names = load_file(folder / "model.safetensors")
    assert len(parts) > 5 and all(name.startswith(parts) for name in names)


def test_the_released_network_has_its_card_without_links_that_lead_nowhere(made):
    folder = made / "networks" / "released"
    assert {"license", "datasets", "metrics", "library_name"} <= front_matter(folder / "README.md").keys()
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "../" not in text and "made:" not in text and "`docs/protocols.md` in the archive of the code" in text
    assert load_file(folder / "model.safetensors").keys() and (folder / "scores.json").is_file()


def test_runs_without_results_or_with_those_of_another_checkpoint_are_left_out(study, tmp_path, said):
    runs, results = tmp_path / "runs", tmp_path / "out"
    for name in ("topo-s1", "topo-s2"):
        shutil.copytree(study[0] / RUN, runs / RUN.replace("topo-s0", name))
    shutil.copytree(study[1] / RUN, results / RUN.replace("topo-s0", "topo-s2"))
    with (runs / RUN.replace("topo-s0", "topo-s2") / "last.pt").open("ab") as stream:
        stream.write(b"x")
    assert list(release.finished(runs, results)) == []
    assert "evaluation.json is missing" in said[0] and "results of another checkpoint" in said[1]


@pytest.mark.parametrize(
    ("break_it", "why"),
    [
        (lambda here: (here / "run.sh").write_text("other"), r"1 files differ from the commit \(such as run.sh\)"),
        (lambda here: shutil.rmtree(here / ".git"), "a checkout is needed"),
        (lambda here: (here / "pyproject.toml").write_text(""), "names no version"),
    ],
)
def test_what_cannot_be_released_is_one_line_and_leaves_the_older_release(tmp_path, break_it, why):
    here = checkout(tmp_path / "here")
    folder = release.make(here, tmp_path / "dist")
    before = (folder / "SHA256SUMS").read_bytes()
    break_it(here)
    with pytest.raises(PoseTopoError, match=why):
        release.make(here, tmp_path / "dist")
    assert (folder / "SHA256SUMS").read_bytes() == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_the_command_says_how_it_is_used():
    done = subprocess.run([sys.executable, str(TOOL)], capture_output=True, text=True)
    assert done.returncode == 2 and "usage:" in done.stderr
