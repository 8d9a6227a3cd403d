"""Names of devices, the same in every command and in Python: `cpu`, `cuda:1`, `webgpu`, a provider's name."""

from __future__ import annotations

from typing import NamedTuple

from sacvit_deploy.errors import UsageError

CPU_NAMES = ("cpu", "cpuexecutionprovider", "openvino")
DECODERS = ("cpu", "gpu")  # where JPEGs are decoded


class DeviceName(NamedTuple):
    """A device: what it is called, in small letters, and its number among those of that name."""

    name: str
    number: int = 0

    @property
    def is_cpu(self) -> bool:
        """Tell whether the processor computes."""
        return self.name in CPU_NAMES


def parse_device(text: str | None) -> DeviceName:
    """Read a device's name; None is the processor. Raises UsageError."""
    name, colon, number = (text or "cpu").strip().lower().partition(":")
    if not name or (colon and not number.isdecimal()):
        raise UsageError(f"--device {text}: a device is cpu, cuda, cuda:1, webgpu or a provider's name")
    device = DeviceName(name, int(number or 0))
    if device.is_cpu and device.number:
        raise UsageError(f"--device {text}: there is one processor, cpu; --threads says how much of it to use")
    return device


def split_devices(text: str | None) -> list[str | None]:
    """Split the names of several devices, "cuda:0,cuda:1"; one that is not named is None. Raises UsageError."""
    if text is None or "," not in text:
        return [text]
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise UsageError(f"--device {text}: a name is missing; several devices are cuda:0,cuda:1")
    devices = [parse_device(name) for name in names]
    if len(set(devices)) < len(devices):
        raise UsageError(f"--device {text}: a device stands there twice; several streams on one are several threads")
    if any(device.is_cpu for device in devices):
        raise UsageError(f"--device {text}: several devices must all keep their own tensors, as cuda:0,cuda:1 do")
    return list(names)
