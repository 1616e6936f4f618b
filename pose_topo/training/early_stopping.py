"""Stop when validation has not improved for a while."""

from __future__ import annotations


class EarlyStopping:
    """Counts epochs without a better (lower) value; `patience` None never stops."""

    def __init__(self, patience: int | None, best: float = float("inf"), waited: int = 0) -> None:
        self.patience, self.best, self.waited = patience, best, waited

    def update(self, value: float) -> bool:
        """Take an epoch's value; True if it is the best so far."""
        better = value < self.best
        self.best, self.waited = (value, 0) if better else (self.best, self.waited + 1)
        return better

    @property
    def stop(self) -> bool:
        return self.patience is not None and self.waited >= self.patience
