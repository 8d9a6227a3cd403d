"""The loop around a trainer: the state it can go on from, the log, the checkpoint."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import torch

from sacvit_deploy.export.checkpoint import save_checkpoint
from sacvit_deploy.training.lessons import Lessons
from sacvit_deploy.training.measure import measure
from sacvit_deploy.training.recipe import PHASES
from sacvit_deploy.training.stopping import stop_on_signal
from sacvit_deploy.training.trainer import Trainer

STATE, LOG, MODEL = "state.pt", "log.jsonl", "model.safetensors"
WATCHED = 1024  # pictures measured on while training runs


def run(
    trainer: Trainer,
    out: Path,
    held: Lessons | None,
    *,
    eta: float = 0.6,
    data: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
    log_every: int = 50,
    save_minutes: float = 2.0,
    check_minutes: float = 6.0,
) -> None:
    """Train to the end, keeping `state.pt`, `log.jsonl` and `model.safetensors` (the averaged weights) in `out`.

    held: pictures to measure on, never trained on. eta, data, dtype: for the checkpoint.
    """
    out.mkdir(parents=True, exist_ok=True)
    if (out / STATE).exists():
        trainer.resume(out / STATE)
    leads = trainer.team.leads

    def write(measured: Mapping[str, Any]) -> None:
        if not leads:
            return
        trainer.save(out / STATE)
        provenance = {**(data or {}), **summary(trainer), **measured}
        labels = list(trainer.lessons.labels)
        save_checkpoint(out / MODEL, trainer.average, labels=labels, eta=eta, provenance=provenance, dtype=dtype)

    saved = checked = time.monotonic()
    before = trainer.seconds, trainer.step
    sums: dict[str, float] = {}
    with (out / LOG).open("a") as log, stop_on_signal() as stop:
        while trainer.advance():
            if trainer.step == 0:
                before = 0.0, 0
            for name, value in trainer.train_step().items():
                sums[name] = sums.get(name, 0.0) + value / log_every
            now = time.monotonic()
            if trainer.step % log_every == 0 and leads:
                line = {**position(trainer, before), **sums}
                if held is not None and now - checked > check_minutes * 60:
                    line |= _held(trainer, held, WATCHED)
                    checked = time.monotonic()
                log.write(json.dumps({k: round(v, 6) if isinstance(v, float) else v for k, v in line.items()}) + "\n")
                log.flush()
                click.echo(sentence(line, trainer))
            if trainer.step % log_every == 0:
                sums, before = {}, (trainer.seconds, trainer.step)
            if now - saved > save_minutes * 60:
                write({})
                saved = time.monotonic()
            # The leader decides: a process that stopped a step before the others would leave them waiting.
            if trainer.team.leaders(stop.asked or 0):
                write({})
                if leads:
                    phase = PHASES[trainer.phase]
                    click.echo(f"stopped at step {trainer.step} of phase {phase}; the same command goes on")
                raise SystemExit(128 + (stop.asked or 0))
    write({})  # the measuring to come may fail; the training has not
    final = _held(trainer, held, None) if held is not None and leads else {}
    if final:
        write(final)
    if leads:
        click.echo(f"wrote {out / MODEL}")
        if final:
            ee, sac, count = final["held_ee"], final["held_sac"], final["held_count"]
            click.echo(f"held-out pictures: {count}; right: stage 1 {ee:.1%}, stage 2 {sac:.1%}")


def _held(trainer: Trainer, held: Lessons, limit: int | None) -> dict[str, float]:
    found = measure(trainer.average.eval(), held, limit=limit, by_chance=trainer.recipe.random_targets)
    return {"held_ee": found.ee, "held_sac": found.sac, "held_count": found.pictures}


def position(trainer: Trainer, before: tuple[float, int]) -> dict[str, Any]:
    """Where the run is; before: seconds and step at the last line, for the speed since."""
    seconds, steps = trainer.seconds - before[0], trainer.step - before[1]
    return {
        "phase": PHASES[trainer.phase],
        "step": trainer.step,
        "minutes": trainer.seconds / 60,
        "rate": trainer.rate(),
        "pictures": trainer.step * trainer.recipe.batch,
        "images_per_second": max(0, steps) * trainer.recipe.batch / max(1e-9, seconds),
    }


def sentence(line: Mapping[str, Any], trainer: Trainer) -> str:
    """The same for people, with the time left in this phase."""
    names = ("ee_accuracy", "sac_accuracy", "held_ee", "held_sac", "loss")
    shown = ", ".join(f"{name} {line[name]:.3f}" for name in names if name in line)
    left = trainer.seconds * (1 / max(trainer.progress(), 1e-9) - 1) / 60
    speed = line["images_per_second"]
    return f"{line['phase']} step {line['step']}: {shown}, {speed:.0f} images/s, {left:.1f} min left in this phase"


def summary(trainer: Trainer) -> dict[str, Any]:
    """How the weights came about, for the checkpoint's provenance."""
    return {
        "pictures": len(trainer.lessons),
        "history": trainer.history,
        "finished": trainer.phase == len(PHASES) - 1 and trainer.progress() >= 1.0,
    }
