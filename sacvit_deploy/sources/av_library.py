"""PyAV, which reads and writes videos: imported when the first one is there, its errors in a sentence."""

from __future__ import annotations

import functools
from typing import Any

from sacvit_deploy.errors import first_line, import_library

# What a container may be. Playlists and concatenations, which open other files, are no recordings.
LOCAL_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,mxf,mjpeg,h264,hevc,yuv4mpegpipe"
)


@functools.cache
def load_av() -> Any:
    """Import PyAV and let FFmpeg's own messages be. Raises BackendError with the command that installs it."""
    av = import_library("av", "PyAV, which reads and writes videos,", "pip install 'sacvit-deploy[video]'")
    av.logging.set_level(av.logging.PANIC)
    return av


def av_reason(error: BaseException) -> str:
    """Return what FFmpeg says of an error, without the name of the function or file it met it in."""
    strerror = getattr(error, "strerror", None)
    return strerror if isinstance(strerror, str) and strerror else first_line(error)
