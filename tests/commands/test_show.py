"""`--show`: a window where there is a display, a sentence where there is none."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageGrab

from tests.web_servers import pictures

REPOSITORY = Path(__file__).parents[2]
BUNDLE = REPOSITORY / "examples/int8/model.sacvit"
SIZE = (448, 492)


@pytest.fixture
def display() -> Iterator[str]:
    """A display in memory, on which nothing is."""
    pytest.importorskip("tkinter", reason="NOT TESTED: this Python has no Tk")
    try:
        server = subprocess.Popen(
            ["Xvfb", "-displayfd", "1", "-screen", "0", "800x600x24", "-nolisten", "tcp"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
    except FileNotFoundError:
        pytest.skip("NOT TESTED: there is no Xvfb here")
    try:
        assert server.stdout is not None
        yield f":{server.stdout.readline().strip()}"
    finally:
        server.kill()
        server.communicate()


def test_without_a_display(command: Any) -> None:
    done = command("sacvit-infer", pictures()[0], "--bundle", BUNDLE, "--show", expect=2, env={"DISPLAY": ""})
    assert done.stderr.startswith("Error: --show needs ")
    assert done.stderr.count("\n") == 1 and done.stdout == ""


def test_what_is_shown_is_what_is_saved(command: Any, display: str, tmp_path: Path) -> None:
    fifo, saved = tmp_path / "fifo", tmp_path / "saved.png"
    os.mkfifo(fifo)
    options = ["--bundle", BUNDLE, "--show", "--save", saved]
    process = command.start("sacvit-infer", fifo, *options, env={"DISPLAY": display})
    with fifo.open("wb", buffering=0) as file:
        file.write(pictures()[0].read_bytes())
        difference = 255.0  # between what is shown and what was saved, levels
        for _ in range(300):  # times 0.1 s
            with contextlib.suppress(OSError):  # it is not there, or not whole
                expected = np.asarray(Image.open(saved)).astype(int)
                shown = ImageGrab.grab(xdisplay=display).convert("RGB").crop((0, 0, *SIZE))
                difference = float(np.abs(expected - np.asarray(shown)).mean())
                if difference < 1:
                    break
            time.sleep(0.1)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert difference < 1
    assert f"saved: {saved}" in out


def test_closing_the_window_ends_it(display: str) -> None:
    """What a window manager calls when its user closes the window is called here."""
    code = (
        "from PIL import Image\n"
        "from sacvit_deploy.commands.window import Window\n"
        "window, image = Window(), Image.new('RGB', (448, 492))\n"
        "window.show(image, 'a.jpg')\n"
        "assert not window.is_closed and window._root.title() == 'a.jpg'\n"
        "window._root.after(0, lambda: window._root.tk.eval(window._root.protocol('WM_DELETE_WINDOW')))\n"
        "window.show(image, 'b.jpg')\n"
        "assert window.is_closed\n"
        "window.show(image, 'c.jpg')\n"
        "window.close()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "DISPLAY": display}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
