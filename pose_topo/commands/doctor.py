"""doctor: can this machine run the study?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pose_topo.commands.app import app
from pose_topo.errors import UsageError


@app.command("doctor")
def doctor(
    data: Annotated[Path, typer.Option(help="Data folder to look at.")] = Path("mpii"),
    profile: Annotated[str, typer.Option(help="demo (CPU, rendered data) or full (MPII).")] = "demo",
) -> None:
    """Look at this machine: can it run the study? One line a finding."""
    from pose_topo.doctor import PROFILES, examine

    if profile not in PROFILES:
        raise UsageError(f"--profile {profile}: give one of {', '.join(PROFILES)}")
    findings = examine(data, profile)
    for finding in findings:
        typer.echo(finding.line())
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)
