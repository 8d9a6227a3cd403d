"""Train a small SAC-ViT on generated object scenes, measure it, and write the pictures that show it.

The room needs torch, numpy and pillow. Each module is a command:

    python -m sacvit_deploy.training.assets         obtain the object art and the background pictures
    python -m sacvit_deploy.training.dataset        render scenes once, into memory-mapped arrays
    python -m sacvit_deploy.training.train          train stage 1 alone, then both stages
    python -m sacvit_deploy.training.evaluate       EE-only, SAC-only and cascade accuracy on held-out scenes
    python -m sacvit_deploy.training.make_examples  write held-out scenes as picture files with their truth
"""
