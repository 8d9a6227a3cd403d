"""The window of `--show`, by Tk, which comes with Python."""

from __future__ import annotations

from typing import Any

from PIL import Image

from sacvit_deploy.console.terminal import printable
from sacvit_deploy.errors import UsageError, first_line

INSTALL = "on Debian and Ubuntu: apt-get install python3-tk"


class Window:
    """A window with the answer of the moment. is_closed: whether it is gone; the user may close it.

    Raises UsageError where there is no display, or no Tk.
    """

    def __init__(self) -> None:
        try:
            import tkinter

            from PIL import ImageTk
        except ImportError as error:
            raise UsageError(f"--show needs Tk ({first_line(error)}); {INSTALL}") from error
        try:
            self._root = tkinter.Tk()
        except tkinter.TclError as error:
            raise UsageError(f"--show needs a display ({first_line(error)}); --save writes the same") from error
        self._images = ImageTk
        self._picture: Any = None  # Tk keeps no reference of its own
        self._label = tkinter.Label(self._root, borderwidth=0)
        self._label.pack()
        self.is_closed = False
        self._root.protocol("WM_DELETE_WINDOW", self.close)

    def show(self, image: Image.Image, title: str) -> None:
        """Put an image in the place of the one before."""
        if self.is_closed:
            return
        self._picture = self._images.PhotoImage(image, master=self._root)
        self._label.configure(image=self._picture)
        self._root.title(printable(title))
        self._root.update()

    def close(self) -> None:
        """Take the window away."""
        if not self.is_closed:
            self.is_closed = True
            self._picture = None
            self._root.destroy()
