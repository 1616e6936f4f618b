"""Check that every null in a result file is explained."""

from __future__ import annotations

from typing import Any


def without_reason(node: Any, path: str = "", reason: bool = False) -> list[str]:
    """The paths of null values without a reason beside them or above them."""
    if isinstance(node, dict):
        reason = bool(node.get("reason")) or reason
        return [p for k, v in node.items() if "reason" not in k for p in without_reason(v, f"{path}.{k}", reason)]
    if isinstance(node, list):
        return [p for n, v in enumerate(node) for p in without_reason(v, f"{path}[{n}]", reason)]
    return [path] if node is None and not reason else []
