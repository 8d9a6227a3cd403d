"""What people give in place of a checkpoint, told by a file's contents, with the way to the checkpoint."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

START = 512  # bytes of a file that tell what it is
# By how a file begins.
BEGINNINGS = {
    b"version https://git-lfs": "a Git LFS pointer, not the checkpoint itself; fetch it with `git lfs pull`",
    b"<": "a web page, not a checkpoint; the download went wrong, perhaps for want of a login or a quota",
    b"\x1f\x8b": "packed with gzip; unpack it first",
    b"BZh": "packed with bzip2; unpack it first",
    b"\xfd7zXZ": "packed with xz; unpack it first",
    b"\x28\xb5\x2f\xfd": "packed with zstd; unpack it first",
    b"7z\xbc\xaf": "a 7z archive; unpack it first",
    b"\0\0\0\0\0\0\0\0": "not a checkpoint: it begins with zeros, as files do whose download or disk failed",
    b"\x89HDF": "an HDF5 file, as Keras writes them; give the model's weights for PyTorch",
    b"GGUF": "a GGUF file, whose weights are packed; give the checkpoint that it was made from",
    b"\x93NUMPY": "a NumPy array, not a checkpoint",
    b"ftrt": "a TensorRT plan; give the checkpoint that it was built from",
    b"ptrt": "a TensorRT plan; give the checkpoint that it was built from",
}
# ONNX is a protobuf message whose first field is a small number, the format's version, before one of its next fields.
ONNX = re.compile(rb"\x08[\x01-\x1f][\x12\x1a\x22\x2a\x32\x3a\x42]")
TORCHSCRIPT = (
    "a TorchScript archive, a program and not a checkpoint; take its weights out in Python: "
    "`torch.save(torch.jit.load(FILE).state_dict(), 'weights.pth')`"
)
PROGRAM = "a program of torch.export, not a checkpoint; save `torch.export.load(FILE).state_dict` with torch.save"
PACKAGE = "a torch.package, which holds code; load it where you trust it and save `model.state_dict()`"


def impostor(path: Path, start: bytes) -> str | None:
    """Return what a file is instead of a checkpoint, to follow `is`; None for what may be one.

    start: its first `START` bytes.
    """
    for begin, reason in BEGINNINGS.items():
        if start.lstrip().startswith(begin) or start.startswith(begin):
            return reason
    if ONNX.match(start) or path.suffix.lower() == ".onnx":
        return "an ONNX file, not a checkpoint; give the PyTorch checkpoint that it was exported from"
    if start[4:8] == b"TFL3":
        return "a TensorFlow Lite file; give the model's weights for PyTorch"
    if start[257:262] == b"ustar":
        return "a tar archive; unpack it and give the checkpoint in it"
    return _zip_kind(path) if start.startswith(b"PK") else None


def _zip_kind(path: Path) -> str | None:
    """Return what a zip file is unless it may be PyTorch's, which is one, too; None for a damaged one."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return None
    inner = [name.partition("/")[2] or name for name in names]  # PyTorch's files lie in one folder
    if ".data/extern_modules" in inner:
        return PACKAGE
    if "data.pkl" in inner:
        return TORCHSCRIPT if "constants.pkl" in inner or any(name.startswith("code/") for name in inner) else None
    if "archive_format" in inner or "serialized_exported_program.json" in inner:
        return PROGRAM
    if names and all(name.endswith(".npy") for name in names):
        return "a NumPy archive, as JAX's ViTs are published; give the model's weights for PyTorch, such as timm's"
    if any(name.endswith(".h5") for name in names):
        return "a Keras file; give the model's weights for PyTorch"
    if not names:
        return "an empty zip archive"
    files = f"{len(names)} files, `{names[0]}` first" if len(names) > 1 else f"`{names[0]}`"
    return f"a plain zip archive with {files}; unpack it and give the checkpoint in it"
