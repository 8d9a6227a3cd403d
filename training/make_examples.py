"""Former place of `python -m sacvit_deploy.training.scenes.make_examples`; the command works under this name, too."""

from sacvit_deploy.training.scenes.make_examples import command

if __name__ == "__main__":
    command()
