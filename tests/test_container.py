"""The image's promises, read from the Dockerfile, from what make would run, and from the image's door."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = (ROOT / "docker" / "Dockerfile").read_text()
STEPS = [
    " ".join(step.replace("\\\n", " ").split())
    for step in re.split(r"\n(?=[A-Z])", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.M))
]
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="make is not here")


def place(start: str) -> int:
    """Where the one step that begins so stands."""
    found = [number for number, step in enumerate(STEPS) if step.startswith(start)]
    assert len(found) == 1, (start, found)
    return found[0]


def planned(*arguments: str, root: Path = ROOT, **environment: str) -> list[str]:
    """The lines make would run."""
    silent = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "DOCKER")}
    command = ["make", "--no-print-directory", "-C", str(root), "-n", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=silent | environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()


def test_the_base_is_pinned_by_digest_and_is_the_only_one():
    base = STEPS[place("ARG BASE=")]
    assert re.fullmatch(r"ARG BASE=nvidia/cuda:\S+@sha256:[0-9a-f]{64}", base)
    assert [step for step in STEPS if step.startswith("FROM")] == ["FROM ${BASE}"]


def test_the_base_has_the_cuda_of_the_locked_torch():
    base = re.search(r"nvidia/cuda:(\d+\.\d+)\.", DOCKERFILE)
    locked = re.search(r"^cuda-toolkit==(\d+\.\d+)\.", (ROOT / "requirements.lock").read_text(), re.M)
    assert base is not None and locked is not None
    assert base[1] == locked[1]


def test_packages_are_pinned_by_day_and_by_hash():
    assert re.fullmatch(r'ARG APT_OPTIONS="--snapshot \d{8}T\d{6}Z"', STEPS[place("ARG APT_OPTIONS")])
    apt = STEPS[place("RUN rm -f")]
    assert apt.count("${APT_OPTIONS}") == 2 and apt.count("apt-get ") == 2
    pip = STEPS[place("RUN --mount=type=secret")]
    assert "--require-hashes --no-deps --only-binary :all: -r /opt/venv/requirements.lock" in pip
    assert pip.endswith("pip check")
    assert "--no-index" in STEPS[place("RUN if")]


def test_code_comes_last_and_nobody_is_root():
    assert place("COPY requirements.lock") < place("RUN --mount") < place("COPY . .") < place("USER")
    assert re.fullmatch(r"USER [1-9]\d*:[1-9]\d*", STEPS[place("USER")])
    assert place("HEALTHCHECK") and place("LABEL")


def test_whatever_asks_for_a_place_gets_one_below_home():
    words = STEPS[place("ENV")].removeprefix("ENV ").replace("-o cache_dir", "-o:cache_dir")
    named = dict(word.strip('"').split("=", 1) for word in words.split() if not word.startswith("cache_dir"))
    places = ["XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR", "TORCH_HOME", "TORCHINDUCTOR_CACHE_DIR",
              "TRITON_CACHE_DIR", "POSE_TOPO_CACHE", "HYPOTHESIS_STORAGE_DIRECTORY"]  # fmt: skip
    assert {name for name in places if not named[name].startswith(named["HOME"] + "/")} == set()
    assert named["USER"]
    assert f"install -d -m 1777 {named['HOME']} " in STEPS[place("RUN if")]


def test_the_stand_in_gives_the_arguments_that_its_head_lists():
    check = (ROOT / "docker" / "check.sh").read_text()
    head = check.partition("\nset -e")[0]
    given = set(re.findall(r"--build-arg (\w+)=", check))
    assert given == {"BASE", "APT_OPTIONS"} == set(re.findall(r"^#     ([A-Z_]+)  +.*real:", head, re.M))
    assert given <= set(re.findall(r"^ARG (\w+)", DOCKERFILE, re.M))


def test_only_what_is_named_gets_into_the_image():
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("no checkout here")
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    tracked = subprocess.run(["git", "-C", str(ROOT), "ls-files"], capture_output=True, text=True, check=True).stdout
    tops = {name.partition("/")[0] for name in tracked.splitlines()}
    assert {rule[1:] for rule in rules if rule.startswith("!")} == tops - {".ci", ".github", ".gitignore"}


@pytest.mark.parametrize("script", ["docker/check.sh", "docker/enter.sh", "tools/lock.sh", "tools/setup.sh"])
def test_scripts_parse(script):
    path = ROOT / script
    shell = "bash" if "bash" in path.read_text().partition("\n")[0] else "sh"
    assert subprocess.run([shell, "-n", str(path)], capture_output=True).stderr == b""
    assert os.access(path, os.X_OK) or not script.startswith("docker")


def test_the_door_refuses_code_of_another_lock(tmp_path):
    code, venv = tmp_path / "pose_topo", tmp_path / "venv"
    for folder in (code, venv):
        folder.mkdir()
        (folder / "requirements.lock").write_text("a==1\n")

    def enter() -> subprocess.CompletedProcess:
        command = ["sh", str(ROOT / "docker" / "enter.sh"), "echo", "a b"]
        return subprocess.run(command, env=os.environ | {"VENV": str(venv)}, capture_output=True, text=True)

    assert enter().stdout == "a b\n"
    (code / "requirements.lock").write_text("a==2\n")
    refused = enter()
    assert refused.returncode == 1 and refused.stdout == "" and "make image" in refused.stderr


@needs_make
def test_a_target_is_one_line_of_the_engine():
    (line,) = planned("demo", "DOCKER=1", "SEEDS=0 1", "EPOCHS=2", "OUT=elsewhere")
    assert line.startswith("docker run --rm ")
    assert '--network=none --hostname localhost --ipc=host --user "$(id -u):$(id -g)"' in line
    assert f'--mount "type=bind,source={ROOT},target=/opt/pose_topo"' in line
    assert "--gpus" not in line and "DOCKER" not in line
    engine, _, inside = line.partition(" pose_topo make demo ")
    assert engine and set(inside.replace("\\ ", "_").split()) == {"SEEDS=0_1", "EPOCHS=2", "OUT=elsewhere"}


@needs_make
def test_gpus_podman_image_and_environment_are_as_asked():
    (line,) = planned("all", "DOCKER=1", "GPUS=all", "IMAGE=mine", SEEDS="3")
    assert " --gpus all " in line and " --env SEEDS " in line and " mine make all" in line
    (line,) = planned("all", "DOCKER=1", "GPUS=all", "ENGINE=podman")
    assert line.startswith("podman run ") and "--device nvidia.com/gpu=all" in line and "--gpus" not in line
    assert ("--userns=keep-id" in line) == (os.getuid() != 0)


@needs_make
def test_apptainer_runs_the_file_with_nothing_writable_but_what_is_bound(tmp_path):
    inside = ("DOCKER=1", "ENGINE=apptainer")
    (line,) = planned("all", *inside, "GPUS=0,1", f"OUT={tmp_path}", "EPOCHS=2", SEEDS="3 4")
    before, _, command = line.partition(" apptainer exec ")
    assert (
        before == 'mkdir -p cache/apptainer/home && APPTAINERENV_SEEDS="$SEEDS" APPTAINERENV_CUDA_VISIBLE_DEVICES=0,1'
    )
    assert "--containall --net --network none --hostname localhost --nv --workdir cache/apptainer" in command
    assert f'--home "{ROOT}/cache/apptainer/home:/home/pose" --pwd /opt/pose_topo' in command
    assert f'--mount "type=bind,source={ROOT},target=/opt/pose_topo"' in command
    assert f"--mount type=bind,source={tmp_path},target={tmp_path}" in command
    assert command.partition(" pose_topo.sif ")[2] == f"enter make all EPOCHS=2 OUT={tmp_path}"
    assert not {"--user", "--rm", "--gpus"} & set(command.split())
    (line,) = planned("all", *inside, "GPUS=all", CUDA_VISIBLE_DEVICES="5")
    assert "APPTAINERENV_CUDA_VISIBLE_DEVICES=5 " in line and " --nv " in line
    (line,) = planned("download", *inside, CUDA_VISIBLE_DEVICES="5")
    assert "--network" not in line and "CUDA" not in line and "--nv" not in line
    (line,) = planned("shell", "ENGINE=apptainer", "SIF=/images/pose_topo.sif")
    assert line.endswith(" /images/pose_topo.sif enter bash")


@needs_make
def test_apptainers_file_is_made_from_an_image_or_its_archive():
    (line,) = planned("image", "ENGINE=apptainer")
    assert line == (
        "apptainer build --force pose_topo.sif.unfinished docker-daemon:pose_topo:latest && "
        "mv pose_topo.sif.unfinished pose_topo.sif"
    )
    (line,) = planned("image", "ENGINE=apptainer", "SIF_FROM=docker-archive:pose_topo-image.tar.gz")
    assert " docker-archive:pose_topo-image.tar.gz && " in line


@needs_make
def test_only_downloads_get_a_network():
    lines = planned("all", "figures", "test", "download", "DOCKER=1")
    networks = [re.findall(r"--network=(\w+).* make (\w+)", line)[0] for line in lines]
    assert networks == [("none", "all"), ("none", "figures"), ("none", "test"), ("bridge", "download")]


@needs_make
def test_places_outside_the_checkout_are_mounted_where_they_are(tmp_path):
    copy = tmp_path / "a checkout"
    copy.mkdir()
    shutil.copy(ROOT / "Makefile", copy)
    shutil.copytree(ROOT / "docker", copy / "docker")
    outside = tmp_path / "big"
    outside.mkdir()
    (copy / "mpii").symlink_to(outside)
    (line,) = planned("all", "DOCKER=1", root=copy)
    assert f'source={copy},target=/opt/pose_topo"' in line
    assert line.count("--mount") == 2 and f"source={outside},target={outside}" in line
    (line,) = planned("all", "DOCKER=1", f"DATA={outside}/x", f"OUT={outside}/x", root=copy)
    assert line.count("--mount") == 2 and f"source={outside}/x,target={outside}/x" in line
    with pytest.raises(AssertionError, match="absolute paths outside the checkout"):
        planned("all", "DOCKER=1", "DATA=../big", root=copy)


@needs_make
def test_the_image_is_built_from_the_dockerfile():
    text = " ".join(planned("image", "DOCKER=1", "PIP_CONF=/etc/pip.conf"))
    assert text.startswith("docker build --tag pose_topo --file docker/Dockerfile")
    assert "--secret id=pip.conf,src=/etc/pip.conf" in text and "--build-arg REVISION=" in text


@needs_make
def test_an_environment_of_ones_own_is_taken_as_it_is(tmp_path):
    lines = planned("test", "setup", f"VENV={tmp_path}")
    assert lines[0].startswith(f"OMP_NUM_THREADS=1 {tmp_path}/bin/python -m pytest -n auto")
    assert not any("tools/setup.sh" in line for line in lines)


@needs_make
def test_the_commands_of_the_page_exist():
    page = (ROOT / "docs" / "container.md").read_text(encoding="utf-8")
    blocks = "".join(re.findall(r"```bash needs=docker\n(.*?)```", page, re.S))
    commands = [line.partition("#")[0].split()[1:] for line in blocks.splitlines() if line.startswith("make ")]
    assert ["demo", "DOCKER=1"] in commands and len(commands) >= 6
    for command in commands:
        assert planned(*command)
