"""The command's options become a recipe, without loading torch."""

from __future__ import annotations

import subprocess
import sys

from sacvit_deploy.training.cli import command, make_recipe
from sacvit_deploy.training.recipe import DENSE, Recipe


def test_help_needs_no_torch() -> None:
    program = "import sys, sacvit_deploy.training.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_options_reach_the_fields_they_are_named_after() -> None:
    def recipe(*options: str) -> Recipe:
        return make_recipe(command.make_context("train", ["--out", "run", *options]).params)

    assert recipe() == Recipe()
    changed = recipe("--steps", "9", "--stage-one", "4", "--look", "0.2", "--lr", "0.5", "--average", "0.9")
    assert changed == Recipe((4, 9), "steps", (0.5, 0.5), average=0.9, attention_loss_weight=0.2)
    assert recipe("--minutes", "3", "--stage-one-lr", "0.1").rates == (0.1, 1e-3)
    assert recipe().dense == DENSE and recipe("--dense", "0").dense == 0
