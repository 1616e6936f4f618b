"""A real Slurm on this machine, with a folder, ports, a munge key and daemons of its own."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "munged", "srun", "sbatch", "scancel", "scontrol", "squeue")
CONF = """\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
MpiDefault=none
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdSpoolDir={folder}/spool-%n
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/finished
{nodes}
PartitionName=all Nodes=ALL Default=YES State=UP
"""


def missing() -> list[str]:
    """The programs of Slurm that are not installed here."""
    return [name for name in PROGRAMS if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") is None]


def _free_ports(count: int) -> list[int]:
    opened = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in opened]
    for one in opened:
        one.close()
    return ports


class Slurm:
    """A cluster of nodes that are all this machine, as a context.

    Args:
        folder: its state. It must be empty.
        cores: how many cores each node has. Together they may be more than this machine has.
    """

    def __init__(self, folder: Path, cores: list[int]) -> None:
        self.folder, self.names = folder, [f"node{i}" for i in range(len(cores))]
        self.environment = {"SLURM_CONF": str(folder / "slurm.conf"), "PATH": f"{os.environ['PATH']}:/usr/sbin"}
        self._daemons: list[subprocess.Popen[bytes]] = []
        host, user = socket.gethostname().partition(".")[0], getpass.getuser()
        controller, *ports = _free_ports(1 + len(cores))
        nodes = [
            f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={count} RealMemory=1000"
            for name, port, count in zip(self.names, ports, cores, strict=True)
        ]
        for name in ("state", *(f"spool-{name}" for name in self.names)):
            (folder / name).mkdir(parents=True)
        text = CONF.format(host=host, controller=controller, user=user, folder=folder, nodes="\n".join(nodes))
        (folder / "slurm.conf").write_text(text)

    def __enter__(self) -> Slurm:
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        where = {"socket": "munge.socket", "pid-file": "munged.pid", "log-file": "munged.log", "seed-file": "seed"}
        options = [f"--{name}={self.folder / file}" for name, file in where.items()]
        try:
            self._start("munged", "--foreground", "--force", f"--key-file={key}", *options)
            self._wait(lambda: (self.folder / "munge.socket").exists())
            self._start("slurmctld", "-D")
            for name in self.names:
                self._start("slurmd", "-D", "-N", name)
            self._wait(lambda: set(self.states()) == {"idle"})
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for daemon in reversed(self._daemons):
            daemon.send_signal(signal.SIGTERM)
            try:
                daemon.wait(timeout=20)
            except subprocess.TimeoutExpired:
                daemon.kill()
                daemon.wait()

    def _start(self, *command: str) -> None:
        with (self.folder / f"{command[0]}.out").open("ab") as out:
            self._daemons.append(subprocess.Popen(command, env=os.environ | self.environment, stdout=out, stderr=out))

    def _wait(self, is_ready) -> None:
        until = time.monotonic() + 60
        while not is_ready():
            dead = [daemon.args for daemon in self._daemons if daemon.poll() is not None]
            assert not dead and time.monotonic() < until, f"{dead or 'Slurm'}: not ready; see {self.folder}"
            time.sleep(0.2)

    def __call__(self, *command: str) -> str:
        """What a command of Slurm prints."""
        environment = os.environ | self.environment
        return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout

    def states(self) -> list[str]:
        """The state of each node, such as idle, mixed or drained."""
        shown = subprocess.run(
            ["sinfo", "--noheader", "--Node", "--format=%t"],
            env=os.environ | self.environment, capture_output=True, text=True,
        )  # fmt: skip
        return shown.stdout.split()

    def queue(self) -> dict[str, tuple[str, str]]:
        """Job id -> name and state (PENDING, RUNNING, ...) of the jobs that are not finished."""
        lines = self("squeue", "--noheader", "--format=%i %j %T").splitlines()
        return {number: (name, state) for number, name, state in (line.split() for line in lines)}

    def finished(self) -> list[dict[str, str]]:
        """The finished jobs: JobId, Name, JobState, StartTime, EndTime, ..."""
        path = self.folder / "finished"
        lines = path.read_text().splitlines() if path.exists() else []
        return [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines]
