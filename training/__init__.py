"""Train a SAC-ViT: on a folder of pictures, or on generated object scenes, whose generator is here, too.

`sacvit train` (cli.py) is the room's command. The scenes have theirs:

    python -m sacvit_deploy.training.assets         obtain the object art and the background pictures
    python -m sacvit_deploy.training.dataset        render scenes once, into memory-mapped arrays
    python -m sacvit_deploy.training.ablate         short runs that differ in one choice of the method
    python -m sacvit_deploy.training.make_examples  write held-out scenes as picture files with their truth
"""
