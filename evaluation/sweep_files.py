"""Writes a sweep as JSON, as a PNG and as an HTML page."""

from __future__ import annotations

import json
import os
from pathlib import Path

from sacvit_deploy.errors import SacvitError
from sacvit_deploy.evaluation.sweep import Sweep
from sacvit_deploy.evaluation.sweep_chart import save_sweep_png
from sacvit_deploy.evaluation.sweep_page import sweep_page


def write_sweep(sweep: Sweep, folder: Path, *, chart: bool) -> list[Path]:
    """Write sweep.json, sweep.png and sweep.html; without `chart`, no PNG and a page with its table alone.

    Returns the paths written. Raises SacvitError.
    """
    data, image, page = (folder / f"sweep.{suffix}" for suffix in ("json", "png", "html"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        data.write_text(json.dumps(sweep.to_dict(), indent=1) + "\n", encoding="utf-8")
        if chart:
            save_sweep_png(sweep, image)
        page.write_text(sweep_page(sweep, chart=chart), encoding="utf-8")
    except OSError as error:
        raise SacvitError(f"can't write the sweep into {os.fspath(folder)}: {error.strerror or error}") from error
    return [data, image, page] if chart else [data, page]
