"""Charts by matplotlib."""

from __future__ import annotations

from typing import Any

from sacvit_deploy.errors import SacvitError


def load_matplotlib() -> Any:
    """Import matplotlib for drawing into files. Raises SacvitError with the install command."""
    try:
        import matplotlib
        import matplotlib.figure
    except ImportError as error:
        raise SacvitError(
            f"drawing needs matplotlib ({error}); install it with: pip install 'sacvit-deploy[plot]'"
        ) from error
    return matplotlib
