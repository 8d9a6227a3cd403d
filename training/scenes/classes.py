"""The sixty classes of the object scenes, and the objects that are only distractors.

The art is addressed by Unicode code point, as emoji sets name their files. Three groups are look-alikes on purpose:
expressions, clock faces and fruit differ in a few pixels, so small ones can't be told apart at half resolution, while
large ones can.
"""

from __future__ import annotations

from typing import NamedTuple


class ObjectClass(NamedTuple):
    """Class of objects: label, code point of the art, and group."""

    name: str
    code: str
    group: str


_GROUPS: dict[str, str] = {
    "animal": "cow:1f404 elephant:1f418 penguin:1f427 turtle:1f422 crab:1f980 bee:1f41d fish:1f41f dolphin:1f42c",
    "animal-face": (
        "lion:1f981 tiger:1f42f dog:1f436 cat:1f431 bear:1f43b panda:1f43c fox:1f98a rabbit:1f430 "
        "hamster:1f439 mouse:1f42d"
    ),
    "expression": (
        "grinning-face:1f600 laughing-face:1f606 smiling-face:1f642 frowning-face:1f641 neutral-face:1f610 "
        "expressionless-face:1f611 surprised-face:1f62e angry-face:1f620 winking-face:1f609 tongue-face:1f61b"
    ),
    "clock": "clock-1:1f550 clock-3:1f552 clock-6:1f555 clock-9:1f558 clock-11:1f55a clock-12:1f55b",
    "fruit": (
        "red-apple:1f34e green-apple:1f34f peach:1f351 orange:1f34a tomato:1f345 lemon:1f34b pear:1f350 "
        "cherries:1f352 strawberry:1f353"
    ),
    "vehicle": (
        "car:1f697 taxi:1f695 police-car:1f693 bus:1f68c ambulance:1f691 fire-engine:1f692 tractor:1f69c "
        "bicycle:1f6b2 aeroplane:2708-fe0f"
    ),
    "tool": (
        "hammer:1f528 wrench:1f527 screwdriver:1fa9b axe:1fa93 scissors:2702-fe0f key:1f511 locked:1f512 unlocked:1f513"
    ),
}

CLASSES = tuple(
    ObjectClass(name, code, group)
    for group, text in _GROUPS.items()
    for name, code in (entry.split(":") for entry in text.split())
)
LABELS = tuple(c.name for c in CLASSES)

# A mirrored clock shows another hour; every other object keeps its label.
_MIRRORED = {"clock-1": "clock-11", "clock-11": "clock-1", "clock-3": "clock-9", "clock-9": "clock-3"}
MIRROR = tuple(LABELS.index(_MIRRORED.get(label, label)) for label in LABELS)
"""MIRROR[label] is the label of the image flipped left to right."""

# Never the label: balls, books, hats, plants, food and household things that look like none of the classes above.
_OTHERS = """
1f4d5 1f4d7 1f4d8 1f4d9 26bd 1f3c0 1f3be 1f3d0 1f3c8 26be 1f3b1 2615 1f9e2 1f3a9 1f451 1f50b 1f4f7 1f680 26f5 1f6a2
1f347 1f34c 1f349 1f344 1f335 1f332 1f33b 1f341 1f355 1f354 1f369 1f36d 1f37f 1f381 1f388 1f3b8 1f3ba 1f3b2 1f4a1 1f4b0
1f4e6 1f4ce 1f50d 1f514 1f525 1f4a7 1f484 1f45f 1f456 1f460 1f3e0 1f3f0 26fa 2602-fe0f 1f30d 1f319 2b50 2764-fe0f 1f4af
1f9f2
"""
DISTRACTORS = tuple(_OTHERS.split())
