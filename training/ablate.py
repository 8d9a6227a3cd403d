"""Former place of `python -m sacvit_deploy.training.scenes.ablate`; the command works under this name, too."""

from sacvit_deploy.commands.common import run_command
from sacvit_deploy.training.scenes.ablate import command

if __name__ == "__main__":
    run_command(command)
