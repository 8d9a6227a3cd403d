"""Training step by step: batches, losses, averaged weights, and the state an interrupted run resumes from."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sacvit_deploy.config import ModelConfig
from sacvit_deploy.errors import CheckpointError, UsageError, first_line
from sacvit_deploy.export.model import ReferenceOutputs, ReferenceSACViT, StageOneOutputs
from sacvit_deploy.files import whole_file
from sacvit_deploy.training.datasets import Batch, Dataset, rows_of
from sacvit_deploy.training.losses import total_loss
from sacvit_deploy.training.parallel import Team
from sacvit_deploy.training.recipe import PHASES, Recipe, learning_rate

UNREADABLE = (OSError, EOFError, RuntimeError, ValueError, LookupError, AttributeError, UnpicklingError)


class Trainer:
    """Training run: model, averaged model, optimisers, and the position within the two phases."""

    def __init__(
        self,
        model: ReferenceSACViT,
        recipe: Recipe,
        dataset: Dataset,
        *,
        device: torch.device | None = None,
        team: Team | None = None,
        amp: bool = True,
        compiled: bool = False,
    ) -> None:
        """Start at step 0 from the model's weights. Raises UsageError for a batch that can't be filled or shared.

        amp: matrix products in bfloat16. compiled: fuse layers with torch.compile, which takes a minute at first.
        """
        self.recipe, self.dataset, self.team, self.amp = recipe, dataset, team or Team(), amp
        self.device = device or torch.device("cpu")
        self.shard = self.team.shard(recipe.batch)
        if len(dataset) < recipe.batch:
            raise UsageError(f"{len(dataset)} images don't fill a batch of {recipe.batch}; choose a smaller --batch")
        self.model = model.to(self.device).train()
        self.stage_one: Callable[[Tensor], StageOneOutputs] = self.model.stage_one
        self.forward: Callable[..., ReferenceOutputs] = self._both_stages
        if compiled:
            self.stage_one, self.forward = torch.compile(self.stage_one), torch.compile(self.forward)
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        self.optimisers = make_optimisers(self.model, recipe)
        self.reader = ThreadPoolExecutor(1, thread_name_prefix="sacvit-batches")
        self.prefetched: dict[tuple[int, int], Future[Batch]] = {}  # by phase and step
        self.phase = 0
        self.step = 0  # within the phase
        self.seconds = 0.0  # within the phase, summed over resumed runs
        self.history: list[dict[str, Any]] = [{"phase": 0, "step": 0, "recipe": recipe.to_dict()}]

    def advance(self) -> bool:
        """Enter the next phase if the current one is done; returns False once the run is done."""
        if self.progress() < 1.0 and self.recipe.amounts[self.phase] > 0:
            return True
        if self.phase + 1 == len(PHASES):
            return False
        self.phase, self.step, self.seconds = self.phase + 1, 0, 0.0
        return self.advance()

    def train_step(self) -> dict[str, float]:
        """Take one step: forward, backward, optimisers, averaged weights. Returns the values to log."""
        begin = time.monotonic()
        self.model.zero_grad(set_to_none=True)
        loss, values = self._losses(self._next_batch().to(self.device))
        loss.backward()  # type: ignore[no-untyped-call]
        self.team.average_gradients(self.model.parameters())
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = self.rate()
            optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - self._decay())
        self.step += 1
        logged = {name: float(value) for name, value in values.items()}
        self.seconds = self.team.broadcast(self.seconds + time.monotonic() - begin)
        return logged

    def _next_batch(self) -> Batch:
        """Return this step's batch and start reading the next one, so that the disk works while the model does."""
        key = (self.phase, self.step)
        batch = self.prefetched.pop(key, None) or self.reader.submit(self._read_batch, *key)
        self.prefetched = {(self.phase, self.step + 1): self.reader.submit(self._read_batch, self.phase, self.step + 1)}
        return batch.result()

    def _read_batch(self, phase: int, step: int) -> Batch:
        """Read the batch of a step; recipe, phase, step and this process's rank alone determine it."""
        recipe = self.recipe
        rng = np.random.default_rng([recipe.seed, 2, phase, step, self.team.rank])
        rows = rows_of(recipe.seed + phase, step, len(self.dataset), recipe.batch)[self.shard]
        return self.dataset.train_batch(rows, rng, half=PHASES[phase] == "one")

    def _losses(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Run one batch forward; returns the loss to minimise and the values to log."""
        image, labels, touched = batch
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp):
            if PHASES[self.phase] == "one":
                full = image.shape[-1] == self.model.config.geometry.image_size
                one, sac = self.stage_one(self.model.downsample(image) if full else image), None
            else:
                clusters = self.progress() >= self.recipe.dense
                random = self.recipe.random_targets and clusters
                targets = random_targets(self.model.config, len(image), self.step).to(self.device) if random else None
                out = self.forward(image, clusters, targets)
                one, sac = out.ee, out.logits
        return total_loss(self.recipe, one, sac, labels, touched)

    def _both_stages(self, image: Tensor, clusters: bool, targets: Tensor | None) -> ReferenceOutputs:
        """Run both stages on every image [B,3,S,S].

        clusters: False for a stage 2 that sees all tokens at full resolution. targets: [B,M], instead of the selected.
        """
        if clusters and targets is None:
            out: ReferenceOutputs = self.model(image)
            return out
        ee = self.stage_one(self.model.downsample(image))
        if targets is None:
            targets = torch.arange(ee.scores.shape[1], device=image.device).expand(len(image), -1)
        return ReferenceOutputs(ee, targets, self.model.stage_two_from(image, ee, targets, clusters=clusters))

    def _decay(self) -> float:
        """Return the decay of the averaged weights: low early in a run, so that the initial weights are forgotten."""
        first = 0 if self.recipe.amounts[0] > 0 else 1
        early = (1 + self.step) / (10 + self.step) if self.phase == first else 1.0
        return min(self.recipe.average, early)

    def progress(self) -> float:
        """Return the done share of the phase, 0 to 1."""
        unit, amount = self.recipe.unit, max(1e-9, self.recipe.amounts[self.phase])
        done = {
            "steps": self.step,
            "epochs": self.step / max(1, len(self.dataset) // self.recipe.batch),
            "minutes": self.seconds / 60,
        }
        return min(1.0, done[unit] / amount)

    def rate(self) -> float:
        """Return the current learning rate."""
        return learning_rate(self.recipe, self.phase, self.progress())

    def state(self) -> dict[str, Any]:
        """Return everything that a resumed run needs."""
        return {
            "config": self.model.config.to_dict(),
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "progress": (self.phase, self.step, self.seconds),
            "history": self.history,
        }

    def save(self, path: Path) -> None:
        """Write the state; a process killed meanwhile leaves either the old file or the new one."""
        with whole_file(path) as partial:
            torch.save(self.state(), partial)

    def resume(self, path: Path) -> None:
        """Continue from a saved state. Raises CheckpointError if the file is damaged or belongs to another model."""
        try:
            state = torch.load(path, weights_only=True, map_location=self.device)
            if state.get("config", self.model.config.to_dict()) != self.model.config.to_dict():
                raise CheckpointError(
                    f"{path} belongs to a model of another shape, method or preprocessing; choose another --out"
                )
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.phase, self.step, self.seconds = state["progress"]
            self.history = state["history"]
            # A run may continue with another optimiser, which starts without momentum.
            if self.history[-1]["recipe"]["optimiser"] == self.recipe.optimiser:
                for optimiser, optimiser_state in zip(self.optimisers, state["optimisers"], strict=True):
                    optimiser.load_state_dict(optimiser_state)
        except UNREADABLE as error:
            raise CheckpointError(
                f"{path} can't be read, it is damaged or truncated; move it away to start anew ({first_line(error)})"
            ) from error
        recipe = self.recipe.to_dict()
        if self.history[-1]["recipe"] != recipe:  # a run may be resumed with another budget
            self.history.append({"phase": self.phase, "step": self.step, "recipe": recipe})


def make_optimisers(model: ReferenceSACViT, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Make AdamW with weight decay on matrices only (not positions, norms, biases); with `muon`, Muon for the blocks.

    Muon (https://kellerjordan.github.io/posts/muon) makes the update of each matrix orthogonal. Its updates are scaled
    to the size of AdamW's, so one learning rate serves both.
    """
    muon, decay, named = recipe.optimiser == "muon", recipe.weight_decay, list(model.named_parameters())
    blocks = {name: p for name, p in named if muon and p.ndim == 2 and name.startswith("blocks.")}
    matrices = [p for name, p in named if p.ndim in (2, 4) and name not in blocks]
    rest = [p for _, p in named if p.ndim not in (2, 4)]
    groups = [{"params": matrices, "weight_decay": decay}, {"params": rest, "weight_decay": 0.0}]
    optimisers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, betas=(0.9, 0.98), foreach=True)]
    if blocks:
        optimisers.append(torch.optim.Muon(blocks.values(), weight_decay=decay, adjust_lr_fn="match_rms_adamw"))
    return optimisers


def random_targets(config: ModelConfig, batch: int, seed: int) -> Tensor:
    """Draw low-resolution tokens [B,M] at random, ascending: the baseline that the selection has to beat."""
    count = config.num_targets()
    rng = np.random.default_rng([seed, 5])
    drawn = rng.random((batch, config.geometry.tokens)).argsort(axis=1)[:, :count]
    return torch.from_numpy(np.sort(drawn, axis=1))
