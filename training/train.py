"""Train a SAC-ViT on rendered scenes: stage 1 alone first, then both stages.

Phase `one` minimises CE(ee, y) on half-size pictures, which is cheap. Phase `both` minimises CE(sac, y) +
CE(ee, y) with every picture continuing, as the paper trains with eta = 1; the paper's KL(ee, sac) is there
too (`--ee-loss kl`), but wants a stage 2 that is already better than stage 1. Both phases also ask the class
token to look at the object (`look`): the generator knows where it is, and stage 2 sees in full what stage 1
looked at. AdamW, warm-up, cosine, clipping, and an average of the weights, which is what is
saved.

A phase's budget is a number of steps (then a run repeats exactly) or of minutes. The state is written
atomically every few minutes; a run that finds one goes on from it.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch

from sacvit_deploy.export.checkpoint import save_checkpoint
from sacvit_deploy.training.classes import LABELS
from sacvit_deploy.training.dataset import open_scenes
from sacvit_deploy.training.recipe import ETA, PHASES, Recipe, small_config
from sacvit_deploy.training.trainer import Trainer


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
