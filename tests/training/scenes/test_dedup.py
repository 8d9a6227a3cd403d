"""Near-duplicates: test backgrounds that look like a training background are left out."""

from __future__ import annotations

import numpy as np
from PIL import Image

from sacvit_deploy.training.scenes.backgrounds import Background
from sacvit_deploy.training.scenes.dedup import without_duplicates


def test_test_images_that_look_like_a_training_image_are_left_out() -> None:
    rng = np.random.default_rng(0)
    first, second, third = (rng.integers(40, 200, (48, 48, 3), dtype=np.uint8) for _ in range(3))
    large = [
        np.asarray(Image.fromarray(p).resize((300, 300), Image.Resampling.NEAREST)) for p in (first, second, third)
    ]
    recoloured = (large[0] * np.array([0.7, 0.8, 0.6]) + 20).astype(np.uint8)
    flat = np.full((300, 300, 3), 90, np.uint8)
    kept = [Background(n, n, p) for n, p in (("copy", recoloured), ("new", large[1]), ("flat", flat))]
    against = [Background(n, n, p) for n, p in (("origin", large[0]), ("other", large[2]), ("plain", flat))]
    assert [b.name for b in without_duplicates(kept, against)] == ["new", "flat"]
    assert [b.name for b in without_duplicates(kept, [])] == ["copy", "new", "flat"]
