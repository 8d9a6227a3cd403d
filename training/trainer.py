"""A training run that can stop anywhere: its batches and steps, and the state it goes on from."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sacvit_deploy.config import ModelConfig
from sacvit_deploy.errors import CheckpointError, UsageError
from sacvit_deploy.export.model import Outputs, ReferenceSACViT, StageOne
from sacvit_deploy.geometry import num_targets
from sacvit_deploy.training.batches import rows_of
from sacvit_deploy.training.lessons import Lesson, Lessons
from sacvit_deploy.training.losses import total_loss
from sacvit_deploy.training.parallel import Team
from sacvit_deploy.training.recipe import PHASES, Recipe, learning_rate, make_optimisers

UNREADABLE = (OSError, EOFError, RuntimeError, ValueError, LookupError, AttributeError, UnpicklingError)


class Trainer:
    """A run: model, averaged model, optimiser, and how far it is."""

    def __init__(
        self,
        model: ReferenceSACViT,
        recipe: Recipe,
        lessons: Lessons,
        *,
        device: torch.device | None = None,
        team: Team | None = None,
        amp: bool = True,
        compiled: bool = False,
    ) -> None:
        """Start at step 0 from the given weights. Raises UsageError for a batch that can't be filled or shared.

        amp: products in bfloat16. compiled: fuse the layers with torch.compile, a minute's wait for faster steps.
        """
        self.recipe, self.lessons, self.team, self.amp = recipe, lessons, team or Team(), amp
        self.device = device or torch.device("cpu")
        self.rows = self.team.share(recipe.batch)
        if len(lessons) < recipe.batch:
            raise UsageError(f"{len(lessons)} pictures don't fill a batch of {recipe.batch}; choose a smaller --batch")
        self.model = model.to(self.device).train()
        self.stage_one: Callable[[Tensor], StageOne] = self.model.stage_one
        self.forward: Callable[..., Outputs] = self._both
        if compiled:
            self.stage_one, self.forward = torch.compile(self.stage_one), torch.compile(self.forward)
        self.reader = ThreadPoolExecutor(1, thread_name_prefix="sacvit-lessons")
        self.ahead: dict[tuple[int, int], Future[Lesson]] = {}
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        self.optimisers = make_optimisers(self.model, recipe)
        self.phase = 0
        self.step = 0  # within the phase
        self.seconds = 0.0  # within the phase, summed over resumed runs
        self.history: list[dict[str, Any]] = [{"phase": 0, "step": 0, "recipe": asdict(recipe)}]

    def state(self) -> dict[str, Any]:
        """Return all that a resumed run needs."""
        return {
            "config": self.model.config.to_dict(),
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "progress": (self.phase, self.step, self.seconds),
            "history": self.history,
        }

    def resume(self, path: Path) -> None:
        """Go on from a saved state. Raises CheckpointError if it is damaged or of another model."""
        try:
            state = torch.load(path, weights_only=True, map_location=self.device)
            if state.get("config", self.model.config.to_dict()) != self.model.config.to_dict():
                raise CheckpointError(f"{path} belongs to a model of another shape or method; choose another --out")
            self.model.load_state_dict(state["model"])
            self.average.load_state_dict(state["average"])
            self.phase, self.step, self.seconds = state["progress"]
            self.history = state["history"]
            # A run may go on with another optimiser, which begins without a memory of its own.
            if self.history[-1]["recipe"]["optimiser"] == self.recipe.optimiser:
                for optimiser, before in zip(self.optimisers, state["optimisers"], strict=True):
                    optimiser.load_state_dict(before)
        except UNREADABLE as error:
            raise CheckpointError(
                f"{path} can't be read, it is damaged or truncated; move it away to start anew "
                f"({str(error).splitlines()[0] if str(error) else type(error).__name__})"
            ) from error
        recipe = asdict(self.recipe)
        if self.history[-1]["recipe"] != recipe:  # a run may be resumed with another budget
            self.history.append({"phase": self.phase, "step": self.step, "recipe": recipe})

    def save(self, path: Path) -> None:
        """Write the state; a kill leaves either the old file or the new one."""
        partial = path.with_suffix(".partial")
        torch.save(self.state(), partial)
        os.replace(partial, path)

    def progress(self) -> float:
        """Return the done share of the phase, 0 to 1."""
        unit, amount = self.recipe.unit, max(1e-9, self.recipe.amounts[self.phase])
        passed = {
            "steps": self.step,
            "epochs": self.step / max(1, len(self.lessons) // self.recipe.batch),
            "minutes": self.seconds / 60,
        }
        return min(1.0, passed[unit] / amount)

    def rate(self) -> float:
        """Return the learning rate now."""
        return learning_rate(self.recipe, self.phase, self.progress())

    def clustered(self) -> bool:
        """Whether stage 2 has its clusters already; before, it sees all tokens at full resolution."""
        return self.progress() >= self.recipe.dense

    def _both(self, image: Tensor, clusters: bool, targets: Tensor | None) -> Outputs:
        """Both stages for every picture [B,3,S,S]."""
        if clusters and targets is None:
            out: Outputs = self.model(image)
            return out
        ee = self.stage_one(self.model.downsample(image))
        if targets is None:
            targets = torch.arange(ee.scores.shape[1], device=image.device).expand(len(image), -1)
        return Outputs(ee, targets, self.model.stage_two_from(image, ee, targets, clusters=clusters))

    def _batch(self, phase: int, step: int) -> Lesson:
        """Read what a step learns from; it depends on nothing but recipe, phase, step and this process's number."""
        recipe = self.recipe
        rng = np.random.default_rng([recipe.seed, 2, phase, step, self.team.rank])
        rows = rows_of(recipe.seed + phase, step, len(self.lessons), recipe.batch)[self.rows]
        return self.lessons.varied(rows, rng, half=PHASES[phase] == "one")

    def _next_batch(self) -> Lesson:
        """Return this step's batch and start reading the next one, so that the disk works while the model does."""
        key = (self.phase, self.step)
        wanted = self.ahead.pop(key, None) or self.reader.submit(self._batch, *key)
        self.ahead = {(self.phase, self.step + 1): self.reader.submit(self._batch, self.phase, self.step + 1)}
        return wanted.result()

    def _losses(self, lesson: Lesson) -> tuple[Tensor, dict[str, Tensor]]:
        """Run one batch forward: the loss to minimise and what to log."""
        image, labels, touched = lesson
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp):
            if PHASES[self.phase] == "one":
                whole = image.shape[-1] == self.model.config.geometry.image_size
                one, sac = self.stage_one(self.model.downsample(image) if whole else image), None
            else:
                clusters = self.clustered()
                chance = self.recipe.random_targets and clusters
                targets = random_targets(self.model.config, len(image), self.step).to(self.device) if chance else None
                out = self.forward(image, clusters, targets)
                one, sac = out.ee, out.logits
        return total_loss(self.recipe, one, sac, labels, touched)

    def train_step(self) -> dict[str, float]:
        """Do one step and return what to log."""
        begin = time.monotonic()
        self.model.zero_grad(set_to_none=True)
        loss, said = self._losses(self._next_batch().to(self.device))
        loss.backward()  # type: ignore[no-untyped-call]
        self.team.average_gradients(self.model.parameters())
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = self.rate()
            optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - self._keep())
        self.step += 1
        logged = {name: float(value) for name, value in said.items()}
        self.seconds = self.team.leaders(self.seconds + time.monotonic() - begin)
        return logged

    def _keep(self) -> float:
        """How much of the average this step keeps: little in a young run, which must not remember where it began."""
        first = 0 if self.recipe.amounts[0] > 0 else 1
        young = (1 + self.step) / (10 + self.step) if self.phase == first else 1.0
        return min(self.recipe.average, young)

    def advance(self) -> bool:
        """Move to the next phase when this one is done; returns False when the run is."""
        if self.progress() < 1.0 and self.recipe.amounts[self.phase] > 0:
            return True
        if self.phase + 1 == len(PHASES):
            return False
        self.phase, self.step, self.seconds = self.phase + 1, 0, 0.0
        return self.advance()


def random_targets(config: ModelConfig, batch: int, seed: int) -> Tensor:
    """[B,M] low-res tokens drawn at random, ascending: what a selection must beat."""
    count = num_targets(config.method.alpha, config.geometry.tokens, config.method.rounding)
    rng = np.random.default_rng([seed, 5])
    drawn = rng.random((batch, config.geometry.tokens)).argsort(axis=1)[:, :count]
    return torch.from_numpy(np.sort(drawn, axis=1))
