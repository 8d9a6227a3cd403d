"""Object art and background images, downloaded and unpacked into one folder.

The art is Microsoft's Fluent Emoji (MIT) as packed for npm; the backgrounds come from two Debian packages, KDE's
wallpapers (GPL-2+) and the textures of the game UFO: Alien Invasion (licences per file). The folder holds:

    packages/            downloads of npm and apt-get; packages already there are used as they are
    objects/             CODE.webp, 256 px, RGBA
    backgrounds/         wallpapers/NAME/... and textures/GROUP/...
    textures-copyright   the machine-readable copyright file of the textures
"""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import click

OBJECT_PACKAGE = "@lobehub/fluent-emoji-3d"
BACKGROUND_PACKAGES = ("plasma-workspace-wallpapers", "ufoai-textures")


def _run(command: list[str], folder: Path) -> None:
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        message = f"{command[0]} is not installed; install it or put the packages into {folder}"
        raise click.ClickException(message) from error
    except subprocess.CalledProcessError as error:
        reason = (error.stderr or "").strip().splitlines()[-1:] or ["no message"]
        raise click.ClickException(f"`{' '.join(command)}` failed in {folder}: {reason[0]}") from error


def _package(folder: Path, pattern: str, command: list[str]) -> Path:
    """Return the package in `folder` matching `pattern`, running `command` there when there is none."""
    if not any(folder.glob(pattern)):
        _run(command, folder)
    packages = sorted(folder.glob(pattern))
    if not packages:
        raise click.ClickException(f"no {pattern} in {folder} after `{' '.join(command)}`")
    return packages[-1]


def _unpack_objects(package: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    with tarfile.open(package) as archive:
        for member in archive:
            name = Path(member.name)
            source = archive.extractfile(member) if member.isfile() and name.suffix == ".webp" else None
            if source is not None:
                # The name without its folders, so that an archive can't write elsewhere.
                (target / name.name).write_bytes(source.read())


def _unpack_backgrounds(package: Path, scratch: Path, root: Path) -> None:
    shutil.rmtree(scratch, ignore_errors=True)
    _run(["dpkg", "-x", str(package), str(scratch)], package.parent)
    wallpapers = scratch / "usr/share/wallpapers"
    if wallpapers.is_dir():
        shutil.copytree(wallpapers, root / "backgrounds/wallpapers", symlinks=True, dirs_exist_ok=True)
    for bundle in scratch.rglob("*.pk3"):
        with zipfile.ZipFile(bundle) as archive:
            archive.extractall(scratch / "bundle")
        shutil.copytree(scratch / "bundle/textures", root / "backgrounds/textures", dirs_exist_ok=True)
        copyright_file = next((scratch / "usr/share/doc").glob("*/copyright"))
        shutil.copyfile(copyright_file, root / "textures-copyright")
    shutil.rmtree(scratch)


def obtain(root: Path) -> None:
    """Fill `root` with objects and backgrounds, downloading the packages that `root/packages` lacks."""
    packages = root / "packages"
    packages.mkdir(parents=True, exist_ok=True)
    objects = _package(packages, "*fluent-emoji-3d*.tgz", ["npm", "pack", OBJECT_PACKAGE])
    _unpack_objects(objects, root / "objects")
    for name in BACKGROUND_PACKAGES:
        package = _package(packages, f"{name}_*.deb", ["apt-get", "download", name])
        _unpack_backgrounds(package, packages / "unpacked", root)


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to fill.")
def command(out: Path) -> None:
    """Obtain the object art and the background images."""
    obtain(out)
    count = len(list((out / "objects").iterdir()))
    click.echo(f"{out}: {count} objects; next: python -m sacvit_deploy.training.scenes.dataset --assets {out}")


if __name__ == "__main__":
    command()
