"""Read results folders, and check that runs may be compared. The stages and the figures share these rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.core.files import read_json

# The version of each kind of result file (docs/results.md). It is raised when a field goes or changes its meaning.
SCHEMAS = {"evaluation": 2, "analysis": 2, "group": 1, "comparison": 1, "claims": 1, "audit": 1}
FILES = {"evaluation": "evaluation.json", "analysis": "analysis.json"}
IDENTITY = ("arm", "seed", "arch", "protocol")

Documents = dict[str, dict[str, Any]]  # "evaluation" and "analysis", those that exist


def read_documents(folder: Path) -> Documents:
    """The evaluation and the analysis in a results folder. A file that does not exist is left out.

    Raises:
        PoseTopoError: A file is not readable or has another schema, or the two files are of different runs.
    """
    documents = {kind: read_document(folder / file, kind) for kind, file in FILES.items() if (folder / file).is_file()}
    for key in (*IDENTITY, "checkpoint_sha256", "data_sha256"):
        if len({content.get(key) for content in documents.values()}) > 1:
            raise PoseTopoError(f"{folder}: evaluation.json and analysis.json differ in {key}: make both again")
    return documents


def read_document(path: Path, kind: str) -> dict[str, Any]:
    """Return the content of a JSON file of ours.

    Raises:
        PoseTopoError: the file is not readable, or is of another kind or schema.
    """
    content = read_json(path)
    if not isinstance(content, dict) or (content.get("kind"), content.get("schema")) != (kind, SCHEMAS[kind]):
        raise PoseTopoError(f"{path} is not a schema {SCHEMAS[kind]} {kind} file: make it again")
    return content


def check_one_study(runs: Sequence[Documents], further: Mapping[str, Iterable[Any]] | None = None) -> None:
    """Check that runs differ in nothing but arm and seed.

    Args:
        runs: The documents of each run, at least one per run.
        further: Other values that must be equal: the plural of their name -> the value of each run.

    Raises:
        UsageError: The runs have different protocols, backbones or `further` values. Or runs of the same seed have
            different data or held-out people. (The split may depend on the seed.)
    """
    everything = [content for documents in runs for content in documents.values()]
    of_study = {"protocols": "protocol", "backbones": "arch"}
    values = {what: {str(content.get(key)) for content in everything} for what, key in of_study.items()}
    for what, several in (values | {what: set(map(str, given)) for what, given in (further or {}).items()}).items():
        if len(several) > 1:
            raise UsageError(f"the results are of different {what} ({', '.join(sorted(several))}): give one")
    data: dict[tuple[Any, str], set[Any]] = {}
    for content in everything:
        keys = ("data_sha256", "images_sha256") if content.get("kind") == "analysis" else ("data_sha256",)
        for key in keys:
            data.setdefault((content.get("seed"), key), set()).add(content.get(key))
    for (seed, _), hashes in data.items():
        if len(hashes) > 1:
            raise UsageError(f"the arms of seed {seed} were measured on different data or splits (data_sha256)")
