"""Drawing answers: into files, on the screen."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from sacvit_deploy.commands.feed import Prepare, Taken
from sacvit_deploy.commands.saving import Saving
from sacvit_deploy.commands.window import Window
from sacvit_deploy.errors import ImageError, SacvitError, first_line
from sacvit_deploy.images.overlay import draw_overlay
from sacvit_deploy.prediction import Prediction


@dataclass(frozen=True)
class Drawing:
    """What becomes of a drawn answer. prepare: fits an image that can be read again to the model's view."""

    prepare: Prepare
    eta: float
    alpha: float
    saving: Saving | None
    window: Window | None

    def take(self, taken: Taken, prediction: Prediction) -> None:
        """Draw one answer, for all who want it. Raises SacvitError; for a video that can't be written, once."""
        image = self._image(taken, prediction)
        if self.window is not None:
            self.window.show(image, taken.frame.name)
        if self.saving is not None:
            self.saving.write(taken, image)

    def close(self) -> None:
        """End what is being written, and close the window. Raises SacvitError."""
        if self.window is not None:
            self.window.close()
        if self.saving is not None:
            self.saving.close()

    def _image(self, taken: Taken, prediction: Prediction) -> Image.Image:
        name, view = taken.frame.name, taken.view
        try:
            if view is None:
                item = self.prepare(taken.frame.image)
                if item.pixels is None:  # it was there a moment ago
                    raise item.error or ImageError(f"can't draw {name}: it can't be read again")
                view = item.pixels
            return draw_overlay(view, prediction, self.eta, self.alpha)
        except SacvitError:
            raise
        except Exception as error:
            raise ImageError(f"can't draw {name} ({type(error).__name__}: {first_line(error)})") from error
