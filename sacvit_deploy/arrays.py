"""Array types used in signatures."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Index = npt.NDArray[np.int64]
Pixels = npt.NDArray[np.uint8]  # [S,S,3] or [B,S,S,3], RGB
Float = npt.NDArray[np.float32]
