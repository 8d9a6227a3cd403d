"""The training loop: steps, the log, measurements on held-out images, the state and the checkpoint."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from sacvit_deploy.console.terminal import say
from sacvit_deploy.export.checkpoint import save_checkpoint
from sacvit_deploy.training.datasets import Dataset
from sacvit_deploy.training.measure import measure_accuracies
from sacvit_deploy.training.recipe import PHASES
from sacvit_deploy.training.run_folder import LOG, alone_in
from sacvit_deploy.training.trainer import Trainer

STATE, MODEL = "state.pt", "model.safetensors"
CHECK_IMAGES = 1024  # held-out images measured on while training runs


def run_training(
    trainer: Trainer,
    out: Path,
    held_out: Dataset | None,
    *,
    eta: float = 0.6,
    data: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float32,
    log_every: int = 50,
    save_minutes: float = 2.0,
    check_minutes: float = 6.0,
) -> None:
    """Train to the end, keeping `state.pt`, `log.jsonl` and `model.safetensors` (the averaged weights) in `out`.

    held_out: images to measure on, never trained on. The checkpoint gets `eta` as its default gate, `data` (what the
    model was trained on) in its provenance, and weights of `dtype`. Ctrl-C and SIGTERM save the state and exit. Raises
    UsageError while another process trains in `out`.
    """
    with alone_in(out, trainer.team):
        if (out / STATE).exists():
            trainer.resume(out / STATE)
        leads = trainer.team.leads

        def write(measured: Mapping[str, Any]) -> None:
            if not leads:
                return
            trainer.save(out / STATE)
            labels = list(trainer.dataset.labels)
            finished = trainer.phase == len(PHASES) - 1 and trainer.progress() >= 1.0
            facts = {"pictures": len(trainer.dataset), "history": trainer.history, "finished": finished}
            provenance = {**(data or {}), **facts, **measured}
            save_checkpoint(out / MODEL, trainer.average, labels=labels, eta=eta, provenance=provenance, dtype=dtype)

        saved = checked = time.monotonic()
        last_line = trainer.seconds, trainer.step
        means: dict[str, float] = {}
        with (out / LOG).open("a") as log, stop_on_signal() as received:
            while trainer.advance():
                if trainer.step == 0:
                    last_line = 0.0, 0
                for name, value in trainer.train_step().items():
                    means[name] = means.get(name, 0.0) + value / log_every
                now = time.monotonic()
                if trainer.step % log_every == 0 and leads:
                    line = {**_position(trainer, last_line), **means}
                    if held_out is not None and now - checked > check_minutes * 60:
                        line |= _measure(trainer, held_out, CHECK_IMAGES)
                        checked = time.monotonic()
                    shown = {
                        name: round(value, 6) if isinstance(value, float) else value for name, value in line.items()
                    }
                    log.write(json.dumps(shown) + "\n")
                    log.flush()
                    say(_format(line, trainer))
                if trainer.step % log_every == 0:
                    means, last_line = {}, (trainer.seconds, trainer.step)
                if now - saved > save_minutes * 60:
                    write({})
                    saved = time.monotonic()
                # The leader decides: a process that stopped a step before the others would leave them waiting.
                if stopped_by := int(trainer.team.broadcast(received[0] if received else 0)):
                    write({})
                    if leads:
                        phase = PHASES[trainer.phase]
                        say(f"stopped at step {trainer.step} of phase {phase}; the same command resumes the run")
                    raise SystemExit(128 + stopped_by)
        write({})  # before measuring, which may fail
        final = _measure(trainer, held_out, None) if held_out is not None and leads else {}
        if final:
            write(final)
        if leads:
            say(f"wrote {out / MODEL}")
            if final:
                ee, sac, count = final["held_ee"], final["held_sac"], final["held_count"]
                say(f"accuracy on {count} held-out images: stage 1 {ee:.1%}, stage 2 {sac:.1%}")


@contextmanager
def stop_on_signal() -> Iterator[list[int]]:
    """Collect the first Ctrl-C or SIGTERM instead of ending the process; a second one has its usual effect."""
    received: list[int] = []
    with ExitStack() as handlers:

        def record(number: int, frame: FrameType | None) -> None:
            received.append(number)
            handlers.close()

        for number in (signal.SIGINT, signal.SIGTERM):
            handlers.callback(signal.signal, number, signal.signal(number, record))
        yield received


def _measure(trainer: Trainer, held_out: Dataset, limit: int | None) -> dict[str, float]:
    """Measure the averaged weights on `limit` held-out images (None: all), under the names the log uses."""
    random = trainer.recipe.random_targets
    accuracies = measure_accuracies(trainer.average.eval(), held_out, limit=limit, with_random_targets=random)
    return {"held_ee": accuracies.ee, "held_sac": accuracies.sac, "held_count": accuracies.images}


def _position(trainer: Trainer, last_line: tuple[float, int]) -> dict[str, Any]:
    """Return the progress part of a log line. last_line: seconds and step at the line before, for the speed since."""
    seconds, steps = trainer.seconds - last_line[0], trainer.step - last_line[1]
    return {
        "phase": PHASES[trainer.phase],
        "step": trainer.step,
        "minutes": trainer.seconds / 60,
        "rate": trainer.rate(),
        "pictures": trainer.step * trainer.recipe.batch,
        "images_per_second": max(0, steps) * trainer.recipe.batch / max(1e-9, seconds),
    }


def _format(line: Mapping[str, Any], trainer: Trainer) -> str:
    """Format a log line for the terminal, with the time left in this phase."""
    names = ("ee_accuracy", "sac_accuracy", "held_ee", "held_sac", "loss")
    shown = ", ".join(f"{name} {line[name]:.3f}" for name in names if name in line)
    left = trainer.seconds * (1 / max(trainer.progress(), 1e-9) - 1) / 60
    speed = line["images_per_second"]
    return f"{line['phase']} step {line['step']}: {shown}, {speed:.0f} images/s, {left:.1f} min left in this phase"
