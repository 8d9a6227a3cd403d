"""Train a SAC-ViT on rendered scenes: stage 1 alone first, then both stages.

Phase `one` minimises CE(ee, y) on half-size pictures, which is cheap. Phase `both` minimises CE(sac, y) +
CE(ee, y) with every picture continuing, as the paper trains with eta = 1; the paper's KL(ee, sac) is there
too (`--ee-loss kl`), but wants a stage 2 that is already better than stage 1. Both phases also ask the class
token to look at the object (`look`): the generator knows where it is, and a model that has found it learns
far sooner what it is. AdamW, warm-up, cosine, clipping, and an average of the weights, which is what is
saved.

A phase's budget is a number of steps (then a run repeats exactly) or of minutes. The state is written
atomically every few minutes; a run that finds one goes on from it.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sacvit_deploy.config import Geometry, ModelConfig, Preprocessing
from sacvit_deploy.export.checkpoint import save_checkpoint
from sacvit_deploy.export.model import Outputs, SACViT, StageOne
from sacvit_deploy.training.batches import jitter, normalise, object_tokens, read_batch, read_half_batch, rows_of
from sacvit_deploy.training.classes import LABELS
from sacvit_deploy.training.dataset import Scenes, open_scenes

Phase = Literal["one", "both"]
PHASES: tuple[Phase, ...] = ("one", "both")
ETA = 0.6


@dataclass(frozen=True)
class Recipe:
    """What decides the result, next to the scenes and the model's config."""

    seed: int = 0
    batch: int = 128
    rate_one: float = 1e-3
    rate_both: float = 5e-4
    weight_decay: float = 0.05
    warmup: float = 0.03  # share of a phase
    clip: float = 1.0
    average: float = 0.998
    zoom_share: float = 0.5
    look: float = 0.2  # weight of -log(class attention on the object)
    ee_loss: Literal["ce", "kl"] = "ce"
    steps: tuple[int, int] | None = None  # of the two phases; None means minutes decide
    minutes: tuple[float, float] = (30.0, 45.0)


def small_config() -> ModelConfig:
    """Return the shipped model's config: DeiT's shape at half of DeiT-S's width and depth, sixty classes."""
    geometry = Geometry(image_size=224, patch_size=16, width=192, depth=6, heads=3, classes=len(LABELS))
    return ModelConfig(geometry=geometry, preprocessing=Preprocessing(crop=1.0))


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
        self.optimiser = _optimiser(self.model, recipe)
        self.phase = 0
        self.step = 0  # within the phase
        self.seconds = 0.0  # within the phase, summed over resumed runs

    def state(self) -> dict[str, Any]:
        """Return all that a resumed run needs."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "progress": (self.phase, self.step, self.seconds),
        }

    def resume(self, path: Path) -> None:
        """Go on from a saved state."""
        state = torch.load(path, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.phase, self.step, self.seconds = state["progress"]

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
        """Return the learning rate: linear warm-up, then a cosine down to 2 % of the peak."""
        peak = (self.recipe.rate_one, self.recipe.rate_both)[self.phase]
        done = self.progress()
        if done < self.recipe.warmup:
            return peak * max(done / self.recipe.warmup, 0.01)
        return peak * (
            0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (done - self.recipe.warmup) / (1 - self.recipe.warmup)))
        )

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
            "finished": self.phase == len(PHASES) - 1 and self.progress() >= 1.0,
        }


def _optimiser(model: SACViT, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW that decays matrices only, not positions, norms and biases."""
    matrices = [p for p in model.parameters() if p.ndim in (2, 4)]
    rest = [p for p in model.parameters() if p.ndim not in (2, 4)]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=recipe.rate_one, betas=(0.9, 0.98), foreach=True)


def _accuracy(logits: Tensor, labels: Tensor) -> float:
    return float((logits.argmax(1) == labels).float().mean())


def run(
    trainer: Trainer, out: Path, log_every: int = 50, save_minutes: float = 2.0, check_minutes: float = 6.0
) -> None:
    """Train to the end, keeping `state.pt`, `log.jsonl` and `model.safetensors` (averaged, half precision) in `out`."""
    out.mkdir(parents=True, exist_ok=True)
    if (out / "state.pt").exists():
        trainer.resume(out / "state.pt")

    def write() -> None:
        trainer.save(out / "state.pt")
        save_checkpoint(
            out / "model.safetensors",
            trainer.average,
            labels=list(LABELS) if trainer.model.config.geometry.classes == len(LABELS) else None,
            eta=ETA,
            provenance=trainer.provenance(),
            dtype=torch.float16,
        )

    saved = checked = time.monotonic()
    sums: dict[str, float] = {}
    with (out / "log.jsonl").open("a") as log:
        while trainer.advance():
            for name, value in trainer.train_step().items():
                sums[name] = sums.get(name, 0.0) + value / log_every
            now = time.monotonic()
            if trainer.step % log_every == 0:
                speed = trainer.step * trainer.recipe.batch / trainer.seconds
                left = trainer.seconds * (1 / max(trainer.progress(), 1e-9) - 1)
                line: dict[str, Any] = {
                    "phase": PHASES[trainer.phase],
                    "step": trainer.step,
                    "minutes": trainer.seconds / 60,
                }
                line |= {"rate": trainer.rate(), "images_per_second": speed, **sums}
                sums = {}
                if trainer.held and now - checked > check_minutes * 60:
                    line |= trainer.check()
                    checked = time.monotonic()
                log.write(json.dumps({k: round(v, 6) if isinstance(v, float) else v for k, v in line.items()}) + "\n")
                log.flush()
                shown = ", ".join(
                    f"{k} {v:.3f}" for k, v in line.items() if "accuracy" in k or "held" in k or k == "loss"
                )
                print(
                    f"{line['phase']} step {trainer.step}: {shown}, {speed:.0f} images/s, {left / 60:.1f} min left",
                    flush=True,
                )
            if now - saved > save_minutes * 60:
                write()
                saved = time.monotonic()
        write()


def main() -> None:
    """Run as a command."""
    parser = argparse.ArgumentParser(description="Train a small SAC-ViT on rendered object scenes.")
    parser.add_argument("--data", type=Path, required=True, help="folder written by sacvit_deploy.training.dataset")
    parser.add_argument("--out", type=Path, required=True, help="folder for the state, the log and the checkpoint")
    parser.add_argument(
        "--minutes", type=float, nargs=2, default=(30.0, 45.0), metavar=("ONE", "BOTH"), help="budget of each phase"
    )
    parser.add_argument(
        "--steps", type=int, nargs=2, metavar=("ONE", "BOTH"), help="budget in steps, which repeats exactly"
    )
    parser.add_argument("--batch", type=int, default=Recipe.batch)
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument(
        "--ee-loss", choices=("ce", "kl"), default=Recipe.ee_loss, help="stage 1's loss in the second phase"
    )
    parser.add_argument(
        "--rates", type=float, nargs=2, default=(Recipe.rate_one, Recipe.rate_both), metavar=("ONE", "BOTH")
    )
    parser.add_argument("--look", type=float, default=Recipe.look, help="weight of the loss on where stage 1 looks")
    parser.add_argument("--held", type=int, default=1024, help="training scenes held back to watch progress on")
    parser.add_argument("--compile", action="store_true", help="fuse layers with torch.compile")
    parser.add_argument("--threads", type=int, default=2)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    recipe = Recipe(
        seed=a.seed,
        batch=a.batch,
        rate_one=a.rates[0],
        rate_both=a.rates[1],
        look=a.look,
        ee_loss=a.ee_loss,
        steps=tuple(a.steps) if a.steps else None,
        minutes=tuple(a.minutes),
    )
    run(Trainer(small_config(), recipe, open_scenes(a.data / "train"), a.held, a.compile), a.out)


if __name__ == "__main__":
    main()
