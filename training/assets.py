"""Former place of `python -m sacvit_deploy.training.scenes.assets`; the command works under this name, too."""

from sacvit_deploy.training.scenes.assets import command

if __name__ == "__main__":
    command()
