"""What a plan.json says of its plans, compared with what the library finds in them once they are loaded.

The record is sealed, but whoever can write it can seal it: plans in full precision may be passed off as half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sacvit_deploy.bundle.bundle import Bundle
from sacvit_deploy.bundle.plans import list_plans
from sacvit_deploy.config import ModelConfig
from sacvit_deploy.contract import ROLES, Shape, element_type, engine_contract
from sacvit_deploy.device.protocol import TensorSpec
from sacvit_deploy.errors import BackendError

Profile = Mapping[str, tuple[Shape, Shape, Shape]]


@dataclass(frozen=True)
class Claim:
    """What a record says of one plan. profiles: by input, the smallest, usual and largest shape."""

    role: str
    precision: str
    config: ModelConfig
    profiles: Sequence[Mapping[str, tuple[Shape, ...]]]


def claims_of(bundle: Bundle, precision: str, plans: Mapping[str, Path]) -> dict[Path, Claim]:
    """Return what the record of these plans, by role, says of them, by path. Raises BundleError for damaged records."""
    out = {}
    for folder, record in list_plans(bundle):
        for role, plan in record.plans.items():
            if plans.get(role) == folder / plan.file.path and role in ROLES:
                out[plans[role]] = Claim(role, precision, bundle.manifest.config, plan.profiles)
    return out


def check_claim(
    claim: Claim,
    path: Path,
    inputs: Mapping[str, TensorSpec],
    outputs: Mapping[str, TensorSpec],
    profiles: Sequence[Profile],
) -> None:
    """Raise BackendError where a loaded plan's tensors or profiles are not what its record and its role say.

    A plan of an older version gives no optional outputs.
    """
    contract = engine_contract(claim.role, claim.config)
    for found, named in ((inputs, contract.inputs), (outputs, {**contract.outputs, **contract.optional})):
        for name, spec in found.items():
            if name not in named:
                raise _refused(path, f"has a tensor `{name}`, which no {claim.role} engine has")
            expected = element_type(named[name].dtype, claim.precision)
            if spec.dtype.name != expected:
                raise _refused(path, f"has `{name}` as {spec.dtype.name}, where {claim.precision} has {expected}")
            shape = tuple(size if isinstance(size, int) else -1 for size in named[name].shape)
            fixed = [(a, b) for a, b in zip(spec.shape, shape, strict=False) if b != -1]
            if len(spec.shape) != len(shape) or any(a != b for a, b in fixed):
                raise _refused(path, f"has `{name}` as {list(spec.shape)}, where this model has {list(shape)}")
    if missing := sorted(set(contract.outputs) - set(outputs)):
        raise _refused(path, f"does not give `{missing[0]}`")
    pairs = zip(profiles, claim.profiles, strict=False)
    if len(profiles) != len(claim.profiles) or any(
        said.get(name) != shapes for found, said in pairs for name, shapes in found.items()
    ):
        raise _refused(path, "has other profiles")


def _refused(path: Path, reason: str) -> BackendError:
    return BackendError(f"{path} is not what its plan.json says: it {reason}; build the plans again with sacvit build")
