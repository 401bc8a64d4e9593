"""The networks with their optimizers: score a batch and learn from it, evaluate, state as arrays."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from selfie_io.loading.batch import Batch
from selfie_io.loading.loader import Loader
from selfie_train.config import TrainConfig
from selfie_train.evidence.training import Outputs
from selfie_train.methods.method import Choice, Mixup, Scores
from selfie_train.models.builder import model_builder
from selfie_train.training.checkpoint_fit import check_weights
from selfie_train.training.distributed import ProcessGroup
from selfie_train.training.machine import autocast
from selfie_train.training.mixing import mixed_loss
from selfie_train.training.optimizer import make_optimizer, set_learning_rate
from selfie_train.training.scored_batch import ScoredBatch
from selfie_train.training.weight_average import WeightAverage


def stream_seed(*key: int | str) -> int:
    """A seed in 0..2**63-1 that depends on `key` alone: every random stream of a run has its own."""
    return int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest(), "big") >> 1


class Learner:
    """The networks of a run on this process's device; every run starts with new weights."""

    def __init__(
        self,
        config: TrainConfig,
        group: ProcessGroup,
        shape: tuple[int, int, int],
        num_classes: int,
        num_networks: int,
        *,
        needs_probabilities: bool = False,
        num_views: int = 1,
        stem_images: Callable[[], Tensor] | None = None,
    ) -> None:
        self.config = config
        self.num_views = num_views  # of each image in a training batch
        self.needs_probabilities = needs_probabilities  # in `Scores`
        self.group = group
        self.shape, self.num_classes = shape, num_classes
        self._stem_images = stem_images  # training images for a network that has `prepare`
        self.networks = [self._prepare(self._build()) for _ in range(num_networks)]
        self._forward = [group.wrap(self._compiled(network)) for network in self.networks]
        self.optimizers = [make_optimizer(config, network) for network in self.networks]
        self.averages = [WeightAverage(network, config.ema) for network in self.networks if config.ema > 0]
        self._scored: ScoredBatch | None = None  # between `score` and `update`

    def start_run(self, run: int) -> None:
        """New weights, which depend on (seed, run, network) alone, and optimizers without momentum."""
        for number, (network, optimizer) in enumerate(zip(self.networks, self.optimizers, strict=True)):
            torch.manual_seed(stream_seed(self.config.seed, "weights", run, number))
            network.load_state_dict(self._build().state_dict())  # in place: it may be compiled and wrapped
            optimizer.state.clear()
        for average, network in zip(self.averages, self.networks, strict=False):
            average.restart(network)

    @property
    def tested_networks(self) -> list[nn.Module]:
        """The networks that are tested and kept: with `ema` the averages of the trained ones."""
        return [average.network for average in self.averages] or self.networks

    def set_learning_rate(self, value: float) -> None:
        """Use `value` from the next step on."""
        for optimizer in self.optimizers:
            set_learning_rate(optimizer, value)

    def score(
        self,
        batch: Batch,
        epoch: int,
        step: int,
        global_size: int,
        *,
        gather: bool = True,
        gradients: bool = True,
    ) -> Scores | None:
        """Run a batch through every network in train mode; `update` then learns from what is kept of it.

        `step` keys the dropout; `global_size` counts the samples over all processes. Without `gradients`
        `update` needs choices that go through the networks again. Returns the scores of the global batch,
        or None without `gather`.
        """
        group = self.group
        if global_size < 2 * group.world_size:  # batch norm needs two samples wherever it is computed
            batch = self._join(group, batch)
            group = group.alone()
        torch.manual_seed(stream_seed(self.config.seed, "dropout", step, group.rank))
        images = self._place_views(batch.images)
        labels = batch.labels.to(self.group.device, non_blocking=True)
        for network in self._forward:
            network.train()
        with torch.set_grad_enabled(gradients), self._autocast():
            logits = [network(images).float() for network in self._forward]
        losses = [F.cross_entropy(output, self._each_view(labels), reduction="none") for output in logits]
        if self.num_views > 1:
            losses = [loss.view(self.num_views, -1).mean(0) for loss in losses]
            predicted = [self._shares(output).argmax(1) for output in logits]
        else:
            predicted = [output.argmax(1) for output in logits]
        scored = ScoredBatch(
            group, global_size, images, labels, logits, losses, predicted, batch, self.num_views
        )
        if not gather:
            self._scored = scored
            return None
        scores, begin = self._global_scores(scored, batch.indices, epoch)
        self._scored = replace(scored, begin=begin)
        return scores

    def outputs(self) -> Outputs | None:
        """What the networks made of this process's scored samples; None where another process has them too.

        Raises RuntimeError without a `score` before it.
        """
        scored = self._kept()
        return scored.outputs() if scored.group is self.group or self.group.is_first else None

    def _kept(self) -> ScoredBatch:
        if self._scored is None:
            raise RuntimeError("a batch must be scored since the last update: call score first")
        return self._scored

    def update(self, choices: list[Choice] | None) -> Tensor:
        """Step every network on its choice from the scored batch; None: on the mean over the given labels.

        Returns this process's sums float64[3] over the scored batch: losses and errors against the given
        labels, averaged over the networks, and samples. Raises RuntimeError without a `score` before it.
        """
        scored, self._scored = self._kept(), None
        group = scored.group
        for number, optimizer in enumerate(self.optimizers):
            if choices is None:
                # DDP averages gradients over the processes: each brings its sum, scaled so that the average
                # is the mean.
                losses = scored.losses[number]
                if self.config.label_smoothing:
                    losses = self._hard_loss(scored.logits[number], scored.labels)
                loss = losses.sum() * (group.world_size / scored.global_size)
            elif not choices[number].weights.any():
                continue
            else:
                loss = self._chosen_loss(number, scored, choices[number])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if self.averages:
                self.averages[number].update(self.networks[number])
        sums = scored.sums()
        if group is not self.group and not self.group.is_first:
            sums.zero_()  # the same samples everywhere: they count once
        return sums

    def _chosen_loss(self, number: int, scored: ScoredBatch, choice: Choice) -> Tensor:
        if choice.mixup is not None:
            return self._mixed_loss(number, scored, choice, choice.mixup)
        total: float = len(choice.weights)
        if choice.divisor == "weights":
            total = float(choice.weights.sum(dtype=np.float64))
        mine = slice(scored.begin, scored.begin + len(scored.labels))
        images, logits = scored.images, scored.logits[number]
        targets = self._each_view(torch.from_numpy(choice.targets[mine]).to(self.group.device))
        weights = self._each_view(torch.from_numpy(choice.weights[mine]).to(self.group.device))
        if choice.second_pass:
            # Batch norm needs two samples, and every process must go through the network equally often: one
            # that keeps fewer takes all of its part again.
            if np.count_nonzero(choice.weights[mine]) >= 2:
                kept = weights > 0
                images, targets, weights = images[kept], targets[kept], weights[kept]
            with self._autocast():
                logits = self._forward[number](images).float()
        is_soft = targets.is_floating_point()
        losses = (
            F.cross_entropy(logits, targets, reduction="none")
            if is_soft
            else self._hard_loss(logits, targets)
        )
        return (losses * weights).sum() * (scored.group.world_size / (total * self.num_views))

    def _mixed_loss(self, number: int, scored: ScoredBatch, choice: Choice, mixup: Mixup) -> Tensor:
        images = scored.images
        if scored.group.world_size > 1:
            images = self._place_views(self._join(scored.group, scored.batch).images)
        begin = scored.begin
        view = torch.arange(begin, begin + len(scored.labels), device=images.device)
        size = len(images) // self.num_views
        rows = torch.cat([view + place * size for place in range(self.num_views)])

        def forward(mixed: Tensor) -> Tensor:
            with self._autocast():
                logits: Tensor = self._forward[number](mixed)
            return logits.float()

        return mixed_loss(forward, choice, mixup, images, rows, scored.group)

    def _hard_loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        smoothing = self.config.label_smoothing
        return F.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)

    @property
    def _slots(self) -> int:
        """The largest part of a batch that a process has."""
        return self.config.batch_size // self.group.world_size

    def _global_scores(self, scored: ScoredBatch, indices: Tensor, epoch: int) -> tuple[Scores, int]:
        """The scores of all processes, and where this one's samples begin in them."""
        # One transfer: float64 holds every index, class and float32 value exactly.
        device = scored.group.device
        columns = [indices.to(device), scored.labels, *scored.losses, *scored.predicted]
        rows = torch.stack([column.detach().double() for column in columns])
        num_networks = len(scored.losses)
        if self.needs_probabilities:
            shares = [self._shares(output).T for output in scored.logits]
            rows = torch.cat([rows, torch.cat(shares).double()])
        everyone, begin = scored.group.gather(rows, self._slots)
        first, second = 2 + num_networks, 2 + 2 * num_networks
        scores = Scores(
            epoch=epoch,
            indices=everyone[0].astype(np.int64),
            labels=everyone[1].astype(np.int64),
            losses=everyone[2:first].astype(np.float32),
            predicted=everyone[first:second].astype(np.int64),
        )
        if self.needs_probabilities:
            split = everyone[second:].reshape(num_networks, -1, everyone.shape[1])
            scores = replace(scores, probabilities=split.transpose(0, 2, 1).astype(np.float32, order="C"))
        return scores, begin

    @torch.no_grad()
    def evaluate(
        self,
        loader: Loader,
        *,
        batch_means: bool = False,
        counts: Tensor | None = None,
        advance: Callable[[int], None] | None = None,
    ) -> tuple[float, float]:
        """Mean loss and error (percent) over all samples, averaged over the networks.

        `batch_means` averages the means of the (global) batches instead, as the official program does.
        `counts` int64 (k * k,) gets this process's predictions: label * k + predicted class. `advance` is
        told the batches done.
        """
        for network in self.tested_networks:
            self.group.broadcast_buffers(network)
            network.eval()
        sums = torch.zeros(3, dtype=torch.float64, device=self.group.device)
        for number, batch in enumerate(loader):
            if len(batch.labels) == 0:
                continue
            global_size = min(self.config.batch_size, len(loader.split) - number * self.config.batch_size)
            images = self._place(batch.images)
            labels = batch.labels.to(self.group.device)
            weight = 1 / global_size if batch_means else 1.0
            for network in self.tested_networks:
                with self._autocast():
                    logits = network(images).float()
                loss = F.cross_entropy(logits, labels, reduction="sum").double()
                predicted = logits.argmax(1)
                errors = (predicted != labels).sum()
                if counts is not None:
                    pairs = labels * logits.shape[1] + predicted
                    counts += torch.bincount(pairs, minlength=len(counts))
                sums += weight * torch.stack([loss, errors.double(), loss.new_tensor(len(labels))])
            if advance is not None:
                advance(number + 1)
        loss_sum, errors_sum, count = self.group.sum(sums).tolist()
        return loss_sum / count, 100 * errors_sum / count

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> NDArray[np.float64]:
        """The classes' probabilities in eval mode, averaged over the networks, float64[b, k]."""
        placed = self._place(images)
        shares = []
        for network in self.tested_networks:
            network.eval()
            with self._autocast():
                logits = network(placed)
            shares.append(logits.double().softmax(1))
        return torch.stack(shares).mean(0).cpu().numpy()

    @property
    def num_parameters(self) -> int:
        """Of one network."""
        return sum(parameter.numel() for parameter in self.networks[0].parameters())

    def is_finite(self) -> bool:
        """Whether every weight and every running statistic is a finite number."""
        tensors = [tensor for network in self.networks for tensor in network.state_dict().values()]
        return bool(torch.stack([torch.isfinite(tensor).all() for tensor in tensors]).all())

    def state(self) -> dict[str, NDArray[Any]]:
        """Weights, buffers, momentum and averages of every network, by name."""
        arrays: dict[str, NDArray[Any]] = {}
        for number, average in enumerate(self.averages):
            arrays[f"average{number}.steps"] = np.array(average.steps, np.int64)
            for name, value in average.network.state_dict().items():
                arrays[f"average{number}.network.{name}"] = value.cpu().numpy()
        for number, (network, optimizer) in enumerate(zip(self.networks, self.optimizers, strict=True)):
            for name, value in network.state_dict().items():
                arrays[f"network{number}.{name}"] = value.cpu().numpy()
            for name, parameter in network.named_parameters():
                momentum = (
                    optimizer.state[parameter].get("momentum_buffer")
                    if parameter in optimizer.state
                    else None
                )
                if momentum is not None:
                    arrays[f"momentum{number}.{name}"] = momentum.cpu().numpy()
        return arrays

    def load_state(self, arrays: dict[str, NDArray[Any]]) -> None:
        """Restore `state()`; raises ValueError if it belongs to another network, or is not finite."""
        check_weights(self.state(), arrays)
        for number, average in enumerate(self.averages):
            average.network.load_state_dict(_tensors(arrays, f"average{number}.network."))
            average.steps = int(arrays[f"average{number}.steps"])
        for number, (network, optimizer) in enumerate(zip(self.networks, self.optimizers, strict=True)):
            network.load_state_dict(_tensors(arrays, f"network{number}."))
            optimizer.state.clear()
            for name, parameter in network.named_parameters():
                if f"momentum{number}.{name}" in arrays:
                    # Laid out as the weights are: the fused step takes both as they lie in memory.
                    momentum = torch.empty_like(parameter, requires_grad=False)
                    momentum.copy_(torch.from_numpy(np.array(arrays[f"momentum{number}.{name}"])))
                    optimizer.state[parameter]["momentum_buffer"] = momentum

    def _build(self) -> nn.Module:
        network = model_builder(self.config.model)(self.shape, self.num_classes)
        prepare = getattr(network, "prepare", None)
        if prepare is not None and self._stem_images is not None:
            prepare(self._stem_images())
        return network

    def _compiled(self, network: nn.Module) -> nn.Module:
        return cast(nn.Module, torch.compile(network)) if self.config.compile else network

    def _prepare(self, network: nn.Module) -> nn.Module:
        if self.config.sync_batchnorm:
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        network = network.to(self.group.device)
        if self.config.channels_last:
            network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network

    def _place(self, images: Tensor) -> Tensor:
        images = images.to(self.group.device, non_blocking=True)
        if self.config.channels_last:
            images = images.permute(0, 3, 1, 2)  # the loader wrote NHWC; torch calls this memory NCHW
        return images

    def _place_views(self, images: Tensor) -> Tensor:
        """Images (b, ...), or with several views (views, b, ...), as one batch, view after view."""
        return self._place(images.flatten(0, 1) if self.num_views > 1 else images)

    def _each_view(self, values: Tensor) -> Tensor:
        """Values (b, ...) as often as there are views."""
        return torch.cat([values] * self.num_views) if self.num_views > 1 else values

    def _shares(self, logits: Tensor) -> Tensor:
        """The probabilities (b, k) of logits (views * b, k): means over the views, without gradient."""
        shares = logits.detach().softmax(1)
        if self.num_views > 1:
            shares = shares.view(self.num_views, -1, shares.shape[1]).mean(0)
        return shares

    def _join(self, group: ProcessGroup, batch: Batch) -> Batch:
        """The whole batch of all processes, with its views first."""
        if self.num_views == 1:
            return group.join(batch, self._slots)
        joined = group.join(batch._replace(images=batch.images.transpose(0, 1)), self._slots)
        return joined._replace(images=joined.images.transpose(0, 1))

    def _autocast(self) -> contextlib.AbstractContextManager[Any]:
        return autocast(self.group.device, self.config.precision)


def _tensors(arrays: dict[str, NDArray[Any]], prefix: str) -> dict[str, Tensor]:
    """The arrays whose name starts with `prefix`, by the rest of it."""
    return {
        name.removeprefix(prefix): torch.from_numpy(np.array(value))
        for name, value in arrays.items()
        if name.startswith(prefix)
    }
