"""manifest.json: the contents of a bundle, sealed against changes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sacvit_deploy.bundle.digest import read_sealed, seal
from sacvit_deploy.bundle.facts import check_parity, check_provenance, check_report
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.contract import FOR_GPU, STAGES
from sacvit_deploy.errors import BundleError
from sacvit_deploy.glue import check_eta
from sacvit_deploy.precisions import PRECISIONS
from sacvit_deploy.typed import field as required
from sacvit_deploy.typed import mapping, number, only, text, whole

SCHEMA = 1
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,254}")


@dataclass(frozen=True)
class FileEntry:
    """File of a bundle: plain name inside the folder, SHA-256, and size in bytes."""

    path: str
    sha256: str
    bytes: int

    def __post_init__(self) -> None:
        # A name with a slash could reach outside the bundle.
        if not _PLAIN_NAME.fullmatch(self.path):
            raise BundleError(f"{self.path!r} is no plain name for a file")
        if not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise BundleError(f"the hash of {self.path} is not a SHA-256")


@dataclass(frozen=True)
class Variant:
    """Variant of one precision: files by role, and the parity measured when it was made.

    files: the engines `ee`, `sac` and the baseline `deit`, and the `weights` they point into; `ee-gpu` and so on, the
    same engines laid out for a GPU. eta: threshold that lets as many images exit as the bundle's eta does with fp32;
    None takes the bundle's. report: calibration and accuracy.
    """

    files: Mapping[str, FileEntry]
    parity: Mapping[str, Any] = field(default_factory=dict)
    eta: float | None = None
    report: Mapping[str, Any] = field(default_factory=dict)

    def engine_files(self, *, for_gpu: bool = False) -> dict[str, FileEntry]:
        """Return the files by role, one for each engine: for a GPU the one laid out for it, where there is one."""
        plain = {role: entry for role, entry in self.files.items() if not role.endswith(FOR_GPU)}
        if not for_gpu:
            return plain
        return {role: self.files.get(role + FOR_GPU, entry) for role, entry in plain.items()}


@dataclass(frozen=True)
class Manifest:
    """Content of manifest.json except the digest."""

    name: str
    config: ModelConfig
    eta: float
    labels: FileEntry
    golden: FileEntry  # images and the reference's answers
    variants: Mapping[str, Variant]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    schema: int = SCHEMA

    def eta_of(self, precision: str) -> float:
        """Return the default eta of a variant."""
        eta = self.variants[precision].eta
        return self.eta if eta is None else eta

    def to_bytes(self) -> bytes:
        """Write the file's content: readable JSON with its own digest."""
        data: dict[str, Any] = {
            "name": self.name,
            "eta": self.eta,
            **self.config.to_dict(),
            "labels": asdict(self.labels),
            "golden": asdict(self.golden),
            "variants": {
                precision: {
                    "files": {role: asdict(entry) for role, entry in variant.files.items()},
                    "parity": dict(variant.parity),
                    **({} if variant.eta is None else {"eta": variant.eta}),
                    **({"report": dict(variant.report)} if variant.report else {}),
                }
                for precision, variant in self.variants.items()
            },
            "provenance": dict(self.provenance),
        }
        return seal(self.schema, data)


def read_manifest(path: Path) -> Manifest:
    """Read a manifest.json. Raises BundleError for damage, changes, and newer schemas."""
    return read_sealed(path, SCHEMA, _parse, "a bundle", "export it again")


def read_entry(value: Any, where: str) -> FileEntry:
    """Read the JSON of a file's entry. Raises UsageError, BundleError."""
    data = only(value, ("path", "sha256", "bytes"), where)
    path, sha256 = (text(required(data, name, f"{where}."), f"{where}.{name}", 256) for name in ("path", "sha256"))
    return FileEntry(path, sha256, whole(required(data, "bytes", f"{where}."), f"{where}.bytes"))


def _parse(data: Mapping[str, Any]) -> Manifest:
    variants = mapping(required(data, "variants"), "variants")
    unknown = set(variants) - set(PRECISIONS)
    if unknown:
        raise BundleError(f"it lists the unknown variant {min(unknown)!r:.80}")
    return Manifest(
        name=text(required(data, "name"), "name", 256),
        config=ModelConfig.from_dict({key: required(data, key) for key in ("geometry", "method", "preprocessing")}),
        eta=check_eta(number(required(data, "eta"), "eta")),
        labels=read_entry(required(data, "labels"), "labels"),
        golden=read_entry(required(data, "golden"), "golden"),
        variants={name: _variant(value, f"variants.{name}") for name, value in variants.items()},
        provenance=check_provenance(required(data, "provenance")),
    )


def _variant(value: Any, where: str) -> Variant:
    data = mapping(value, where)
    listed = mapping(required(data, "files", f"{where}."), f"{where}.files")
    files = {role: read_entry(entry, f"{where}.files.{role!r:.40}") for role, entry in listed.items()}
    for role in STAGES:
        if role not in files:
            raise BundleError(f"it lists no {role} engine")
    eta = data.get("eta")
    return Variant(
        files,
        check_parity(data.get("parity", {}), f"{where}.parity"),
        None if eta is None else check_eta(number(eta, f"{where}.eta")),
        check_report(data.get("report", {}), f"{where}.report"),
    )
