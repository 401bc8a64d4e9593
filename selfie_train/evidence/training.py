"""Evidence from a training run: what the networks said of every record at each visit, before they learnt it.

- margin: the logit of the given label less the largest other, a mean over the visits: the area under the
  margin (AUM; Pleiss et al., NeurIPS 2020).
- probabilities of the given label and of the best other class: means over the visits, and the last ones. The
  best other class is the one named most often (majority vote of Boyer and Moore, 1981).
- wrong events: visits at which another class was the likeliest. Forgetting events: a right prediction, then a
  wrong one at the next visit (Toneva et al., ICLR 2019).
- loss rank: where the loss stands among all records of its epoch, 0 the lowest and 1 the highest; a mean.

Of several networks or views the means count. The networks are in train mode and see augmented images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from selfie_train.evidence import training_kernels as kernels

if TYPE_CHECKING:
    from collections.abc import Mapping

PENDING = 20  # batches that wait for their transfer from the device, so that no step waits for one


class Processes(Protocol):
    """The processes of a run, as far as they are needed here."""

    @property
    def rank(self) -> int:
        """The number of this one."""

    @property
    def world_size(self) -> int:
        """How many there are."""

    @property
    def device(self) -> Any:
        """Where this one computes."""

    def sum(self, values: Tensor) -> Tensor:
        """The sum of each value over the processes."""


@dataclass(frozen=True)
class Outputs:
    """What r networks and views made of a batch: indices, labels int64 (b,), logits float32 (r, b, k)."""

    indices: Tensor
    labels: Tensor
    logits: Tensor


class TrainingStatistics:
    """The statistics of N records, of one run from its first weights on.

    With several processes each keeps the records of its own batches; `merge` joins them, and the sums of a
    record are then those of one process. Of a record that several processes had since the last merge, what
    tells of the last visit comes from the process that had it last; the order of its visits is lost.
    """

    def __init__(self, num_samples: int, num_classes: int, *, shared: bool = False) -> None:
        """`shared`: several processes keep them."""
        self.num_samples, self.num_classes = num_samples, num_classes
        self._table = np.zeros((num_samples, kernels.COLUMNS))
        self._merged = np.zeros_like(self._table) if shared else None  # the table after the last merge
        self._touched = np.zeros(num_samples, np.bool_)  # since then
        self._pending: list[tuple[int, Outputs]] = []
        self._batches = 0
        self.restart()

    def restart(self) -> None:
        """Begin anew, for new weights."""
        self._pending.clear()
        self._batches = 0
        self._table[:] = 0
        self._table[:, kernels.LOSS] = np.nan
        self._touched[:] = False
        self._keep_merged()

    def record(self, outputs: Outputs | None) -> None:
        """Count a batch; None is a batch that another process counts."""
        self._batches += 1
        if outputs is not None:
            self._pending.append((self._batches, outputs))
        if len(self._pending) >= PENDING:
            self._take_in()

    def _take_in(self) -> None:
        for when, outputs in self._pending:
            indices, labels = outputs.indices.cpu().numpy(), outputs.labels.cpu().numpy()
            logits = np.ascontiguousarray(outputs.logits.cpu().numpy())
            bad = kernels.record(self._table, self._touched, when, indices, labels, logits)
            if bad >= 0:
                raise ValueError(f"no record {indices[bad]} with a class {labels[bad]}")
        self._pending.clear()

    def merge(self, group: Processes) -> None:
        """Take in what the other processes counted; all of them must call this."""
        self._take_in()
        if group.world_size > 1:
            self._join(group)
            self._keep_merged()
        self._touched[:] = False

    def _join(self, group: Processes) -> None:
        import torch

        def everyones(mine: NDArray[np.float64]) -> NDArray[np.float64]:
            """The sum over the processes."""
            total: NDArray[np.float64] = group.sum(torch.from_numpy(mine).to(group.device)).cpu().numpy()
            return total

        if self._merged is None:
            raise ValueError("the statistics of several processes must be made with shared=True")
        table = np.where(self._touched[:, None], np.nan_to_num(self._table), 0.0)
        touched = np.zeros((self.num_samples, group.world_size))
        touched[:, group.rank] = self._touched
        total = everyones(np.column_stack([table, touched]))
        by = total[:, kernels.COLUMNS :] > 0
        count = by.sum(1)
        self._table[count > 0] = total[count > 0, : kernels.COLUMNS]
        repeated = np.flatnonzero(count > 1)  # an order that draws a record twice in an epoch
        if len(repeated):
            self._table[repeated] -= (count[repeated, None] - 1) * self._merged[repeated]
            when = np.zeros((len(repeated), group.world_size))
            when[:, group.rank] = table[repeated, kernels.WHEN]
            last = group.world_size - 1 - everyones(when)[:, ::-1].argmax(1)
            place = np.ix_(repeated, np.array(kernels.LAST))
            self._table[place] = everyones(table[place] * (last == group.rank)[:, None])

    def end_epoch(self, group: Processes) -> None:
        """Merge, and rank the losses of the epoch."""
        self.merge(group)
        losses = self._table[:, kernels.LOSS]
        seen = np.flatnonzero(~np.isnan(losses))
        order = seen[np.argsort(losses[seen], kind="stable")]
        self._table[order, kernels.RANK_SUM] += np.arange(len(order)) / max(len(order) - 1, 1)
        losses[:] = np.nan
        self._keep_merged()

    def _keep_merged(self) -> None:
        if self._merged is not None:
            self._merged[:] = np.nan_to_num(self._table)

    def columns(self) -> dict[str, NDArray[Any]]:
        """The columns for labels.csv, each (N,): int64 counts and classes, float64 with NaN if not seen."""
        table = self._table
        seen = table[:, kernels.SEEN]
        visits = np.where(seen > 0, seen, np.nan)
        unseen = seen == 0

        def last(column: int) -> NDArray[np.float64]:
            return np.where(unseen, np.nan, table[:, column])

        other = np.where(unseen, -1, table[:, kernels.OTHER_CLASS]).astype(np.int64)
        return {
            "epochs_seen": seen.astype(np.int64),
            "margin": table[:, kernels.MARGIN_SUM] / visits,
            "given_mean": table[:, kernels.GIVEN_SUM] / visits,
            "given_last": last(kernels.GIVEN),
            "other_mean": table[:, kernels.OTHER_SUM] / visits,
            "other_last": last(kernels.OTHER),
            "other_label": other,
            "wrong_events": table[:, kernels.WRONG].astype(np.int64),
            "forgetting_events": table[:, kernels.FORGOTTEN].astype(np.int64),
            "loss_rank": table[:, kernels.RANK_SUM] / visits,
        }

    def state_dict(self) -> dict[str, Any]:
        """The table; the processes must have merged."""
        return {"table": self._table.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore `state`; raises ValueError if it is of another training set, or is none."""
        table = np.asarray(state["table"])
        if (table.dtype, table.shape) != (self._table.dtype, self._table.shape):
            raise ValueError(
                f"the statistics must be float64 {self._table.shape}, got {table.dtype} {table.shape}"
            )
        finite = np.delete(table, kernels.LOSS, axis=1)  # there NaN stands for a record not seen in the epoch
        classes, counts = table[:, kernels.OTHER_CLASS], table[:, kernels.COUNTS]
        if (
            not np.isfinite(finite).all()
            or counts.min() < 0
            or not ((classes >= 0) & (classes < self.num_classes) & (classes == np.floor(classes))).all()
        ):
            raise ValueError("the statistics must be finite, with counts and classes of this training set")
        self.restart()
        self._table[:] = table
        self._batches = int(table[:, kernels.WHEN].max(initial=0))
        self._keep_merged()
