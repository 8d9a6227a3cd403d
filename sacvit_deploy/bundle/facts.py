"""What a manifest and a plan.json tell beside the files: measurements and origins, which commands print.

None of it changes an answer. It is checked because it is printed, and whoever can write the file can write anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sacvit_deploy.typed import field, flag, items, mapping, number, text, whole

Check = Callable[[Any, str], object]


def check_parity(value: Any, where: str) -> dict[str, Any]:
    """Return a variant's parity, an empty one or a whole one. Raises UsageError."""
    data = mapping(value, where)
    if data:
        _check_fields(data, where, tolerance=number, largest_error=number, targets_identical=flag)
        _check_fields(data, where, smallest_target_overlap=number, cases=lambda v, w: items(v, w, mapping))
    return data


def check_report(value: Any, where: str) -> dict[str, Any]:
    """Return what calibration and the accuracy gate wrote about a variant, if anything. Raises UsageError."""
    data = mapping(value, where)
    if "calibration" in data:
        facts = mapping(data["calibration"], f"{where}.calibration")
        _check_fields(facts, f"{where}.calibration", ranges=text, pictures=whole, continued=whole, smoothing=number)
        _check_fields(facts, f"{where}.calibration", kept_in_fp32=_texts, damage=_numbers)
    if "judged_on" in data:
        _check_fields(data, where, judged_on=text, eta=number, drop=_number_or_none, agreement=_agreement)
    return data


def check_provenance(value: Any, where: str = "provenance") -> dict[str, Any]:
    """Return where a bundle comes from. Raises UsageError."""
    data = mapping(value, where)
    for name in ("checkpoint", "family", "exported"):
        text(data.get(name, ""), f"{where}.{name}")
    _texts(data.get("notes", []), f"{where}.notes")
    return data


def check_build(value: Any, where: str) -> dict[str, Any]:
    """Return what the build of a plan wrote about it. Raises UsageError."""
    data = mapping(value, where)
    checks: dict[str, Check] = {"build_seconds": number, "layers": whole, "read_from": text, "device_memory": whole}
    for name, check in {**checks, "precisions": _numbers, "outputs": _texts}.items():
        if name in data:
            check(data[name], f"{where}.{name}")
    return data


def _check_fields(data: Mapping[str, Any], where: str, **checks: Check) -> None:
    for name, check in checks.items():
        check(field(data, name, f"{where}."), f"{where}.{name}")


def _texts(value: Any, where: str) -> tuple[str, ...]:
    return items(value, where, text)


def _numbers(value: Any, where: str) -> dict[str, float]:
    return {name: number(item, f"{where}.{name!r:.40}") for name, item in mapping(value, where).items()}


def _number_or_none(value: Any, where: str) -> float | None:
    return None if value is None else number(value, where)


def _agreement(value: Any, where: str) -> None:
    _check_fields(mapping(value, where), where, ee=number, sac=number, cascade=number)
