"""Telling images and videos apart: by their first bytes, and by names where there are none."""

from __future__ import annotations

from pathlib import PurePath

VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".vob", ".flv", ".wmv",
    ".asf", ".ogv", ".3gp", ".mjpg", ".mjpeg", ".h264", ".264", ".h265", ".265", ".hevc", ".y4m", ".mxf",
)  # fmt: skip
HEAD = 16  # bytes that are enough to tell
_IMAGES = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"P5", b"P6", b"P4")
_VIDEOS = (
    b"\x1aE\xdf\xa3",  # Matroska, WebM
    b"\0\0\1\xba",  # MPEG program stream
    b"\0\0\1\xb3",  # MPEG video
    b"\0\0\0\1",  # H.264, H.265 as they are
    b"FLV\1",
    b"OggS",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF, WMV
    b"YUV4MPEG2",
    b"\x06\x0e\x2b\x34",  # MXF
)
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")  # ISO media: MP4, MOV, 3GP
_STILLS = (b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1", b"hevc", b"jxl ")  # brands of images in such boxes


def is_video_name(name: str) -> bool:
    """Whether a file's name ends as videos' do."""
    return PurePath(name).suffix.lower() in VIDEO_SUFFIXES


def is_image_head(head: bytes) -> bool:
    """Whether a file begins as an image that is read here."""
    return head.startswith(_IMAGES) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def is_video_head(head: bytes) -> bool:
    """Whether a file begins as a video, or as a container of one."""
    if head.startswith(_VIDEOS) or (head[:4] == b"RIFF" and head[8:12] == b"AVI "):
        return True
    return head[4:8] in _BOXES and not (head[4:8] == b"ftyp" and head[8:12] in _STILLS)
