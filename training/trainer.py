"""A training run that can stop anywhere: its batches, losses and steps, and the state it goes on from."""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sacvit_deploy.config import ModelConfig
from sacvit_deploy.export.model import Outputs, SACViT, StageOne
from sacvit_deploy.training.batches import jitter, normalise, object_tokens, read_batch, read_half_batch, rows_of
from sacvit_deploy.training.dataset import Scenes
from sacvit_deploy.training.recipe import PHASES, Recipe, learning_rate, make_optimiser


class Lesson(NamedTuple):
    """What one step learns from: pictures [B, 3, S, S], labels [B] and the tokens [B, N] that the object touches."""

    image: Tensor
    labels: Tensor
    touched: Tensor


class Trainer:
    """A run: model, averaged model, optimiser, and how far it is."""

    def __init__(
        self, config: ModelConfig, recipe: Recipe, scenes: Scenes, held: int = 0, compiled: bool = False
    ) -> None:
        """Start at step 0; the last `held` scenes are kept out of training, to watch progress on.

        `compiled` fuses the layers with torch.compile: a minute's wait for the compiler, then faster steps.
        """
        torch.manual_seed(recipe.seed)
        self.recipe, self.scenes, self.held = recipe, scenes, held
        self.model = SACViT(config)
        self.stage_one: Callable[[Tensor], StageOne] = self.model.stage_one
        self.both: Callable[[Tensor], Outputs] = self.model
        if compiled:
            self.stage_one, self.both = torch.compile(self.stage_one), torch.compile(self.model)
        self.reader = ThreadPoolExecutor(1)
        self.ahead: dict[tuple[int, int], Future[Lesson]] = {}
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        self.optimiser = make_optimiser(self.model, recipe)
        self.phase = 0
        self.step = 0  # within the phase
        self.seconds = 0.0  # within the phase, summed over resumed runs
        self.history: list[dict[str, Any]] = [{"phase": 0, "step": 0, "recipe": asdict(recipe)}]

    def state(self) -> dict[str, Any]:
        """Return all that a resumed run needs."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "progress": (self.phase, self.step, self.seconds),
            "history": self.history,
        }

    def resume(self, path: Path) -> None:
        """Go on from a saved state."""
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.phase, self.step, self.seconds = state["progress"]
        self.history = state.get("history", [])
        recipe = asdict(self.recipe)
        if not self.history or self.history[-1]["recipe"] != recipe:  # a run may be resumed with another budget
            self.history.append({"phase": self.phase, "step": self.step, "recipe": recipe})

    def save(self, path: Path) -> None:
        """Write the state; a kill leaves either the old file or the new one."""
        partial = path.with_suffix(".partial")
        torch.save(self.state(), partial)
        os.replace(partial, path)

    def progress(self) -> float:
        """Return the done share of the phase, 0 to 1."""
        if self.recipe.steps is not None:
            return min(1.0, self.step / max(1, self.recipe.steps[self.phase]))
        return min(1.0, self.seconds / 60 / max(1e-9, self.recipe.minutes[self.phase]))

    def rate(self) -> float:
        """Return the learning rate now."""
        return learning_rate(self.recipe, self.phase, self.progress())

    def _batch(self, phase: int, step: int) -> Lesson:
        """Read what a step learns from; it depends on nothing but the recipe, the phase and the step."""
        recipe = self.recipe
        rng = np.random.default_rng([recipe.seed, 2, phase, step])
        rows = rows_of(recipe.seed + phase, step, len(self.scenes) - self.held, recipe.batch)
        if PHASES[phase] == "one":
            batch = read_half_batch(self.scenes, rows, rng, recipe.zoom_share)
        else:
            batch = read_batch(self.scenes, rows, rng)
        image = jitter(normalise(batch.pixels, self.model.config.preprocessing), rng)
        touched = object_tokens(batch.boxes, self.model.config.geometry.grid)
        return Lesson(image, torch.from_numpy(batch.labels), torch.from_numpy(touched))

    def _next_batch(self) -> Lesson:
        """Return this step's batch and start reading the next one, so that the disk works while the model does."""
        key = (self.phase, self.step)
        wanted = self.ahead.pop(key, None) or self.reader.submit(self._batch, *key)
        self.ahead = {(self.phase, self.step + 1): self.reader.submit(self._batch, self.phase, self.step + 1)}
        return wanted.result()

    def _losses(self) -> tuple[Tensor, dict[str, float]]:
        """Run one batch forward: the loss to minimise and what to log."""
        recipe = self.recipe
        image, labels, touched = self._next_batch()
        with torch.autocast("cpu", torch.bfloat16):
            if PHASES[self.phase] == "one":
                one, sac = self.stage_one(image), None
            else:
                out = self.both(image)
                one, sac = out.ee, out.logits
        ee, found = one.logits, (one.scores * touched).sum(1)
        said = {"ee_accuracy": _accuracy(ee, labels), "found": float(found.detach().mean())}
        loss = F.cross_entropy(ee, labels)
        if sac is not None:
            if recipe.ee_loss == "kl":
                loss = F.kl_div(ee.log_softmax(1), sac.detach().log_softmax(1), reduction="batchmean", log_target=True)
            loss = loss + F.cross_entropy(sac, labels)
            said["sac_accuracy"] = _accuracy(sac, labels)
        loss = loss - recipe.look * (found + 1e-4).log().mean()
        return loss, said | {"loss": float(loss.detach())}

    def train_step(self) -> dict[str, float]:
        """Do one step and return what to log."""
        begin = time.monotonic()
        self.model.zero_grad(set_to_none=True)
        loss, said = self._losses()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        self.optimiser.step()
        keep = min(self.recipe.average, (1 + self.step) / (10 + self.step)) if self.phase == 0 else self.recipe.average
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.model.parameters()), 1 - keep)
        self.step += 1
        self.seconds += time.monotonic() - begin
        return said

    def advance(self) -> bool:
        """Move to the next phase when this one is done; returns False when the run is."""
        if self.progress() < 1.0:
            return True
        if self.phase + 1 == len(PHASES):
            return False
        self.phase, self.step, self.seconds = self.phase + 1, 0, 0.0
        return self.advance()

    @torch.no_grad()
    def check(self, limit: int = 1024) -> dict[str, float]:
        """Return both stages' accuracy on held-back training scenes, for the averaged weights."""
        rows = np.arange(len(self.scenes) - min(self.held, limit), len(self.scenes))
        right = np.zeros(2)
        for start in range(0, len(rows), 128):
            part = rows[start : start + 128]
            with torch.autocast("cpu", torch.bfloat16):
                out = self.average(normalise(self.scenes.images[part], self.average.config.preprocessing))
            labels = torch.from_numpy(self.scenes.labels[part])
            right += [_accuracy(logits, labels) * len(part) for logits in (out.ee.logits, out.logits)]
        return {"held_ee": float(right[0] / len(rows)), "held_sac": float(right[1] / len(rows))}

    def provenance(self) -> dict[str, Any]:
        """Say where the weights come from, for the checkpoint."""
        return {
            "trained_on": "object scenes, sacvit_deploy.training",
            "scenes": len(self.scenes) - self.held,
            "recipe": asdict(self.recipe),
            "history": self.history,
            "finished": self.phase == len(PHASES) - 1 and self.progress() >= 1.0,
        }


def _accuracy(logits: Tensor, labels: Tensor) -> float:
    return float((logits.argmax(1) == labels).float().mean())
