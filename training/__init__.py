"""Training of a SAC-ViT on image folders or on rendered object scenes; `scenes/` renders those.

`sacvit train` (cli.py) trains. The scenes have commands of their own:

    python -m sacvit_deploy.training.scenes.assets         obtain the object art and the background images
    python -m sacvit_deploy.training.scenes.dataset        render scenes once, into memory-mapped arrays
    python -m sacvit_deploy.training.scenes.ablate         short runs that differ in one choice of the method
    python -m sacvit_deploy.training.scenes.make_examples  write held-out scenes as image files with their truth
"""
