"""Which class is taken for which in asymmetric noise: of CIFAR-10 and CIFAR-100, found by their names."""

import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

# In the published order; after the usual name others in use.
_CIFAR10 = (
    ("airplane", "plane", "aeroplane", "aircraft"), ("automobile", "car", "auto"), ("bird",), ("cat",),
    ("deer",), ("dog",), ("frog",), ("horse",), ("ship", "boat"), ("truck", "lorry"),
)  # fmt: skip
# Patrini et al., CVPR 2017.
_CIFAR10_TAKEN_FOR = {
    "truck": "automobile", "bird": "airplane", "deer": "horse", "cat": "dog", "dog": "cat",
}  # fmt: skip
# The superclasses; each class is taken for the next one, the last for the first. The published order of the
# classes is the alphabet's.
_CIFAR100_SUPERCLASSES = (
    "beaver, dolphin, otter, seal, whale",
    "aquarium_fish, flatfish, ray, shark, trout",
    "orchid, poppy, rose, sunflower, tulip",
    "bottle, bowl, can, cup, plate",
    "apple, mushroom, orange, pear, sweet_pepper",
    "clock, keyboard, lamp, telephone, television",
    "bed, chair, couch, table, wardrobe",
    "bee, beetle, butterfly, caterpillar, cockroach",
    "bear, leopard, lion, tiger, wolf",
    "bridge, castle, house, road, skyscraper",
    "cloud, forest, mountain, plain, sea",
    "camel, cattle, chimpanzee, elephant, kangaroo",
    "fox, porcupine, possum, raccoon, skunk",
    "crab, lobster, snail, spider, worm",
    "baby, boy, girl, man, woman",
    "crocodile, dinosaur, lizard, snake, turtle",
    "hamster, mouse, rabbit, shrew, squirrel",
    "maple_tree, oak_tree, palm_tree, pine_tree, willow_tree",
    "bicycle, bus, motorcycle, pickup_truck, train",
    "lawn_mower, rocket, streetcar, tank, tractor",
)


def confused_classes(num_classes: int, class_names: Sequence[str] | None) -> npt.NDArray[np.int64]:
    """The class that each class is taken for, int64 (num_classes,); itself where it is never mistaken.

    Without `class_names` the classes are those of CIFAR-10 or CIFAR-100 in the published order. Raises
    ValueError if they are not CIFAR's.
    """
    if num_classes == 10:
        published: Sequence[Sequence[str]] = _CIFAR10
        pairs = list(_CIFAR10_TAKEN_FOR.items())
    else:
        groups = [group.split(", ") for group in _CIFAR100_SUPERCLASSES]
        published = sorted([name] for group in groups for name in group)
        pairs = [
            (one, other) for group in groups for one, other in zip(group, group[1:] + group[:1], strict=True)
        ]
    if class_names is None:
        places = {names[0]: place for place, names in enumerate(published)}
    else:
        places = _find(published, class_names)
    if num_classes not in (10, 100) or len(places) != num_classes:
        shown = "" if class_names is None else f": {', '.join(class_names[:12])}"
        raise ValueError(
            "asymmetric noise must have the classes of CIFAR-10 (airplane, automobile, bird, ...) or of "
            f"CIFAR-100, got {num_classes} classes{shown}{', ...' if num_classes > 12 else ''}; for other "
            "classes give the matrix itself: selfie-convert noise --matrix FILE.csv"
        )
    taken_for = np.arange(num_classes)
    for one, other in pairs:
        taken_for[places[one]] = places[other]
    return taken_for


def _find(published: Sequence[Sequence[str]], class_names: Sequence[str]) -> dict[str, int]:
    """The place of each published class, by its usual name, among `class_names`; without those not found."""
    plain = [_plain(name) for name in class_names]
    places = {}
    for names in published:
        wanted = {_plain(name) for name in names}
        found = [
            place for place, name in enumerate(plain) if name in wanted or name.removesuffix("s") in wanted
        ]
        if len(found) == 1:
            places[names[0]] = found[0]
    return places


def _plain(name: str) -> str:
    """A name without case, separators and a number before it: "03_Sweet-Pepper" gives "sweetpepper"."""
    return re.sub(r"^[0-9]+|[^a-z0-9]", "", name.strip().lower())
