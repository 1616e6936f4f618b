"""Read results folders, and check that runs may be compared. The stages and the figures share these rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pose_topo.core.errors import PoseTopoError, UsageError
from pose_topo.core.files import read_json

# The version of each kind of result file (docs/results.md). It is raised when a field goes or changes its meaning.
SCHEMAS = {"evaluation": 2, "analysis": 2, "robustness": 1, "group": 1, "comparison": 1, "claims": 1, "audit": 1}
FILES = {"evaluation": "evaluation.json", "analysis": "analysis.json", "robustness": "robustness.json"}
IDENTITY = ("arm", "seed", "arch", "protocol")

# the numbers that a group compares: name -> file and the keys of the number in it
METRICS: dict[str, tuple[str, tuple[str, ...]]] = {
    "I": ("analysis", ("moran", "mean_I")),
    "I_normalised": ("analysis", ("moran_measures", "normalised", "mean_I")),
    "I_activity": ("analysis", ("moran_measures", "activity", "mean_I")),
    "I_responses": ("analysis", ("single_images", "standardised", "mean_I")),
    "I_selectivity": ("analysis", ("selectivity", "mean_I_joints")),
    "I_rearranged": ("analysis", ("controls", "rearranged", "mean_I")),
    "contiguity": ("analysis", ("parcellation", "contiguity")),
    "regions": ("analysis", ("parcellation", "components")),
    "neighbour_correlation": ("analysis", ("neighbour_correlation", "neighbours")),
    "smoothness": ("analysis", ("correlation_distance", "smoothness")),
    "twins": ("analysis", ("body", "twins", "ratio")),
    "wiring": ("analysis", ("wiring", "mean")),
    "effective_dimensionality": ("analysis", ("activations", "effective_dimensionality")),
    "participation_ratio": ("analysis", ("health", "participation_ratio")),
    "mean_row_norm": ("analysis", ("health", "mean_row_norm")),
    "PCKh@0.5": ("evaluation", ("pckh", "0.5", "mean")),
    "PCKh@0.1": ("evaluation", ("pckh", "0.1", "mean")),
    "AUC": ("evaluation", ("auc",)),
}

# ---- the layouts of the files (see `misfit`), as docs/results.md describes them


class Whole(dict[Any, Any]):
    """A layout of an object whose keys must all be there, because code reads them without asking."""


LARGEST, LONGEST = 1e15, 10_000  # of numbers, and of texts in characters
NOTHING, ANYTHING = type(None), object()
COUNT, NUMBER, TEXT = range(10**12), (float, NOTHING), (str, NOTHING)
KINDS = {dict: "an object", list: "a list", NOTHING: "null"}
MAYBE = (bool, NOTHING)
BAND = ([float], NOTHING)
SCORES = {
    "mean": NUMBER, "groups": {...: NUMBER}, "joints": {...: NUMBER}, "note": str, "threshold": float,
    "interval": {"mean": BAND, "groups": {...: BAND}},
}  # fmt: skip
NUMBERS = {"reason": TEXT, "unit": str, "weights": str, ...: NUMBER}
MORAN = {
    **NUMBERS, "measure": str, "permutations": COUNT, "channels": COUNT, "expected": float,
    "per_joint": {...: {...: NUMBER}},
}  # fmt: skip
RUN = {
    "arm": TEXT, "seed": (range(1 << 63), NOTHING), "arch": TEXT, "protocol": TEXT, "as_protocol": MAYBE,
    "deviations": [str], "checkpoint_sha256": TEXT, "data_sha256": TEXT,
}  # fmt: skip
EVALUATION = {
    **RUN,
    "data": TEXT,
    "rendered": MAYBE,
    "people": COUNT,
    "joints": COUNT,
    "settings": (Whole({"decode": str, "flip_test": bool, "framing": str, "input_size": range(1, 1 << 20), "split": str,
                        "split_mismatch": TEXT, "precision": str}), NOTHING),
    "pckh": {...: SCORES},
    "auc": NUMBER,
    "curve": (Whole({"thresholds": [float], "mean": [NUMBER]}), NOTHING),
    "intervals": {"method": str, "level": float, "resamples": COUNT, "seed": COUNT, ...: SCORES["interval"]},
    "pck": SCORES,
    "reference_lengths": Whole({key: Whole({"length": str, "people": COUNT, "without": COUNT})
                                for key in ("pckh", "pck")}),
    "oks": {**NUMBERS, "joints": [str], "note": str},
    "legacy": {**NUMBERS, "head_ratio": {...: NUMBER}},
}  # fmt: skip
DIRECTION = Whole({"removed": COUNT, "share": float, "I": NUMBER, "p": NUMBER})
ANALYSIS = {
    **RUN,
    "model": str,
    "grid": {"height": range(1, 4097), "width": range(1, 4097), "neighbours": range(4, 9), "torus": bool},
    "images": COUNT,
    "images_sha256": TEXT,
    "topo_lr_mult": NUMBER,
    "lambda": NUMBER,
    "topo_loss": TEXT,
    "permuted": MAYBE,
    "moran": MORAN,
    "moran_measures": {...: MORAN},
    "moran_sensitivity": {...: {...: MORAN}},
    "parcellation": {**NUMBERS, "units": {...: COUNT}, "region_sizes": {...: [COUNT]}, "join_count_z": {...: NUMBER}},
    "neighbour_correlation": NUMBERS,
    "correlation_distance": NUMBERS,
    "tuning_distance": NUMBERS,
    "coactivation": {"chance": NUMBER, "alphas": [float], "distance": [NUMBER], "pairs": [COUNT], "reason": TEXT},
    "activations": NUMBERS,
    "wiring": {**NUMBERS, "per_joint": {...: {...: NUMBER}}},
    "body": {"permutations": COUNT, "twins": NUMBERS, "hops": NUMBERS},
    "single_images": {"permutations": COUNT, "raw": NUMBERS, "standardised": NUMBERS},
    "selectivity": {"permutations": COUNT, "channels": COUNT, "expected": NUMBER, "mean_I_joints": NUMBER,
                    "reason": TEXT, "conditions": {...: {"responses": [COUNT], "reason": TEXT, ...: NUMBER}}},
    "directions": {"permutations": COUNT, "participation_ratio": NUMBER, "reason": TEXT, "trained": [DIRECTION],
                   "smoothed": ({"width": float, "table": [DIRECTION]}, NOTHING),
                   "collapsed": ({"table": [DIRECTION]}, NOTHING)},
    "health": {...: NUMBER},
    "controls": {"rearranged": NUMBERS},
    "lesions": (Whole({
        "people": COUNT, "threshold": float, "centres": COUNT, "permuted_grids": COUNT, "smallest_p": float,
        "radii": [Whole({"radius": float, "channels": float, "reason": TEXT} | dict.fromkeys(
            ("damage", "null_damage", "null_damage_sd", "specificity", "null_mean", "null_sd", "p", "own", "other",
             "null_own", "null_other"), NUMBER))],
    }), NOTHING),
}  # fmt: skip
# The harms of robustness.json, in the order of figures and tables: title, and the unit of its levels.
HARMS = {
    "weight_noise": ("Noise in the weights", "sd of the noise / sd of the tensor"),
    "blur": ("Blur", "sd (pixels of the input)"),
    "noise": ("Noise in the picture", "sd (grey levels of 255)"),
    "contrast": ("Loss of contrast", "share of the contrast removed"),
    "prune_territory": ("Pruning by territory", "share of the channels removed"),
    "prune_norm": ("Pruning by norm", "share of the channels removed"),
    "prune_random": ("Pruning at random", "share of the channels removed"),
}
ROBUSTNESS = {
    **RUN,
    "model": str,
    "images": COUNT,
    "images_sha256": TEXT,
    "settings": Whole({"decode": str, "flip_test": bool, "precision": str}),
    "score": str,
    "intact": NUMBER,
    "harms": Whole(dict.fromkeys(HARMS, Whole({
        "unit": str, "draws": COUNT, "area": NUMBER, "area_interval": BAND, "relative": NUMBER,
        "relative_interval": BAND, "reason": TEXT,
        "levels": [Whole({"level": float, "pckh": NUMBER, "interval": BAND})],
    }))),
}  # fmt: skip
DIFFERENCE = Whole({
    "n": COUNT, "mean": NUMBER, "sd": NUMBER, "low": NUMBER, "high": NUMBER, "p": NUMBER, "smallest_p": NUMBER,
    "p_max": NUMBER, "seeds": [COUNT], "differences": [float],
})  # fmt: skip
GROUP = Whole({
    "arch": str, "protocol": str, "as_protocol": bool, "interval": str, "test": str,
    "comparisons": {...: Whole({"seeds": [COUNT], "I_over_best": NUMBER,
                               "metrics": Whole(dict.fromkeys(METRICS, DIFFERENCE))})},
})  # fmt: skip
SESSION = Whole({"wall_seconds": float, "peak_memory": Whole({"rss": COUNT, ...: COUNT}), "device": TEXT})
CLAIMS = Whole({
    "level": float,
    "profiles": [Whole({"id": str, "about": str, "command": str, "disk": TEXT, "here": str, "here_is_reference": bool,
                        "reference": str})],
    "claims": [Whole({
        "id": str, "profile": str, "kind": str, "statement": str, "verdict": str,
        "cost": (Whole({"arms": COUNT, "minutes": float, "memory": COUNT, "gpu_memory": (COUNT, NOTHING),
                        "hardware": str}), NOTHING),
        "checks": [Whole({
            "verdict": str, "statistic": str, "here": {...: NUMBER}, "reference": {...: NUMBER}, "reason": TEXT,
            "wanted": (Whole({"low": NUMBER, "high": NUMBER, "strict": bool, "text": str}), NOTHING),
        })],
    })],
    "not_supported": [str],
    "never_run": [str],
})  # fmt: skip
LAYOUTS: dict[str, Any] = {"evaluation": EVALUATION, "analysis": ANALYSIS, "robustness": ROBUSTNESS, "group": GROUP,
                           "claims": CLAIMS}  # fmt: skip
SAME_LENGTH = {"evaluation": ["curve.thresholds", "curve.mean"],
               "analysis": ["coactivation.alphas", "coactivation.distance", "coactivation.pairs"]}  # fmt: skip

Documents = dict[str, dict[str, Any]]  # "evaluation", "analysis" and "robustness", those that exist


def read_documents(folder: Path) -> Documents:
    """The JSON files of a run in a results folder. A file that does not exist is left out.

    Raises:
        PoseTopoError: A file is not readable or has another schema, or the files are of different runs.
    """
    documents = {kind: read_document(folder / file, kind) for kind, file in FILES.items() if (folder / file).is_file()}
    for key in (*IDENTITY, "checkpoint_sha256", "data_sha256"):
        if len({content.get(key) for content in documents.values()}) > 1:
            names = " and ".join(FILES[kind] for kind in documents)
            raise PoseTopoError(f"{folder}: {names} differ in {key}: make them again")
    return documents


def read_document(path: Path, kind: str) -> dict[str, Any]:
    """Return the content of a JSON file of ours. Its parts have the types that docs/results.md describes.

    Raises:
        PoseTopoError: the file is not readable, is of another kind or schema, or a part of it has another type.
    """
    content = read_json(path)
    if not isinstance(content, dict) or (content.get("kind"), content.get("schema")) != (kind, SCHEMAS[kind]):
        raise PoseTopoError(f"{path} is not a schema {SCHEMAS[kind]} {kind} file: make it again")
    wrong = misfit(content, LAYOUTS[kind])
    names = [name.split(".") for name in SAME_LENGTH.get(kind, ())]
    lists = [part[last] for first, last in names if isinstance(part := content.get(first), dict) and last in part]
    if not wrong and len({len(one) for one in lists}) > 1:
        wrong = f"{' and '.join(SAME_LENGTH[kind])} have different lengths"
    if wrong:
        raise PoseTopoError(f"{path}: {wrong}: make it again")
    return content


def misfit(value: Any, wanted: Any, where: str = "the content") -> str | None:
    """Say where and how a value from JSON differs from its layout; None if it has it.

    A layout is a type, a range of whole numbers, a list with the layout of its items, a dictionary of layouts by key
    (`...` stands for all keys that are not named), or a tuple of layouts of which one must fit. Keys may be missing,
    except in a `Whole`; keys that the layout does not have are allowed. A `float` is a finite number.
    """
    if isinstance(wanted, tuple):
        found = [misfit(value, layout, where) for layout in wanted]
        return None if None in found else found[0]
    if isinstance(wanted, list):
        items = enumerate(value) if isinstance(value, list) else None
        wrong = (misfit(item, wanted[0], f"{where}[{place}]") for place, item in items or ())
        return next(filter(None, wrong), None) if items else _is_no(where, value, "a list")
    if isinstance(wanted, dict):
        if not isinstance(value, dict):
            return _is_no(where, value, "an object")
        below = "" if where == "the content" else f"{where}."
        if missing := [key for key in wanted if key is not ... and key not in value and isinstance(wanted, Whole)]:
            return f"{below}{missing[0]} is missing"
        inside = ((key, inner, wanted.get(key, wanted.get(..., ANYTHING))) for key, inner in value.items())
        found = (misfit(inner, layout, f"{below}{key}") for key, inner, layout in inside if layout is not ANYTHING)
        return next(filter(None, found), None)
    if wanted is float:
        fits = type(value) in (int, float) and abs(value) <= LARGEST  # not NaN, either
    elif isinstance(wanted, range):
        fits = type(value) is int and value in wanted
    else:
        fits = type(value) is wanted and (wanted is not str or len(value) <= LONGEST)
    if fits:
        return None
    if isinstance(wanted, range):
        return _is_no(where, value, f"a whole number from {wanted[0]} to {wanted[-1]}")
    names = {float: "a number", str: f"text of at most {LONGEST:,} characters", bool: "true or false", NOTHING: "null"}
    return _is_no(where, value, names.get(wanted) or KINDS.get(wanted) or f"a {wanted.__name__}")


def _is_no(where: str, value: Any, wanted: str) -> str:
    return f"{where:.120} is {KINDS.get(type(value)) or repr(value)[:40]}, not {wanted}"


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
    values = {"protocols": [content.get("protocol") for content in everything],
              "backbones": [content.get("arch") for content in everything], **(further or {})}  # fmt: skip
    for what, given in values.items():
        if len(several := set(map(str, given))) > 1:
            raise UsageError(f"the results are of different {what} ({', '.join(sorted(several))}): give one")
    data: dict[tuple[Any, str], set[Any]] = {}
    for content in everything:
        for key in ("data_sha256", *(["images_sha256"] if content.get("kind") != "evaluation" else [])):
            data.setdefault((content.get("seed"), key), set()).add(content.get(key))
    for (seed, _), hashes in data.items():
        if len(hashes) > 1:
            raise UsageError(f"the arms of seed {seed} were measured on different data or splits (data_sha256)")
