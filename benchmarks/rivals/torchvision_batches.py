"""torchvision v2 on whole batches of a tensor in memory: a random resized crop, or a crop and colour.

v2 draws once for a batch: all its images share one window and one colour, which is less work than a draw an
image. "antialias" is v2's default for resizing.
"""

import importlib.util
import re
from pathlib import Path

import torch
from serving import MEAN, STD, read_images, serve
from torch import library

# torchvision's wheels need CUDA for their own operators, and refuse the import beside a build of torch for
# CPUs. The transforms use none of them: those that the import asks for are declared.
if not torch.cuda.is_available() and torch.version.cuda is None:
    OPERATORS = library.Library("torchvision", "DEF")
    asking = Path(importlib.util.find_spec("torchvision").origin).with_name("_meta_registrations.py")
    for operator in sorted(set(re.findall(r"torchvision::(\w+)", asking.read_text()))):
        OPERATORS.define(f"{operator}() -> ()")

from torchvision.transforms import v2


class Epoch:
    def __init__(self, work):
        torch.set_num_threads(work.threads)
        images, labels = read_images(work)
        self.images, self.labels = torch.from_numpy(images), torch.from_numpy(labels)
        self.batch_size = work.batch_size
        size = (work.options["crop"],) * 2
        steps = {
            "window": [v2.RandomResizedCrop(size, antialias=work.options.get("antialias", False))],
            "plain": [v2.RandomCrop(size)],
            "colour": [v2.RandomCrop(size), v2.ColorJitter(0.4, 0.4, 0.4, 0.1), v2.RandomGrayscale(0.1)],
        }
        self.transform = v2.Compose(
            [
                *steps[work.options["task"]],
                v2.RandomHorizontalFlip(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(MEAN, STD, inplace=True),
            ]
        )

    def __iter__(self):
        for chosen in torch.randperm(len(self.labels)).split(self.batch_size):
            yield self.transform(self.images[chosen]), self.labels[chosen]


serve(Epoch, "torchvision")
