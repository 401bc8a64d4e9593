"""NVIDIA DALI on the CPU: a random resized crop, or a crop and colour, of images gathered from memory.

DALI resizes interleaved pixels, so the images are kept as NHWC, and its last step transposes them.
"""

import numpy as np
from nvidia.dali import Pipeline, fn, types
from serving import MEAN, STD, read_images, serve


class Epoch:
    def __init__(self, work):
        images, self.labels = read_images(work)
        self.images = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        self.batch_size = work.batch_size
        self.rng = np.random.default_rng(0)
        self.permutation = None
        size, task = (work.options["crop"],) * 2, work.options["task"]
        self.pipeline = Pipeline(work.batch_size, work.threads, device_id=None, prefetch_queue_depth=2)
        with self.pipeline:
            pixels, labels = fn.external_source(self.source, num_outputs=2, batch=True, layout=["HWC", ""])
            mirror = fn.random.coin_flip()
            if task == "window":
                pixels = fn.random_resized_crop(
                    pixels, size=size, antialias=work.options.get("antialias", False)
                )
            uniform = fn.random.uniform
            anywhere = {"crop_pos_x": uniform(range=(0.0, 1.0)), "crop_pos_y": uniform(range=(0.0, 1.0))}
            if task == "colour":
                pixels = fn.color_twist(
                    fn.crop(pixels, crop=size, **anywhere),
                    brightness=uniform(range=(0.6, 1.4)),
                    contrast=uniform(range=(0.6, 1.4)),
                    saturation=uniform(range=(0.6, 1.4)),
                    hue=uniform(range=(-36.0, 36.0)),
                )
            pixels = fn.crop_mirror_normalize(
                pixels,
                crop=size,
                mirror=mirror,
                mean=[255 * value for value in MEAN],
                std=[255 * value for value in STD],
                dtype=types.FLOAT,
                output_layout="CHW",
                **(anywhere if task == "plain" else {}),
            )
            self.pipeline.set_outputs(pixels, labels)

    def source(self, number):
        begin = number * self.batch_size
        if begin >= len(self.labels):
            raise StopIteration
        if number == 0:
            self.permutation = self.rng.permutation(len(self.labels))
        chosen = self.permutation[begin : begin + self.batch_size]
        return self.images[chosen], self.labels[chosen]

    def __iter__(self):
        for _ in range(-(-len(self.labels) // self.batch_size)):
            yield [np.asarray(output.as_tensor()) for output in self.pipeline.run()]
        self.pipeline.reset()


serve(Epoch, "nvidia-dali-cuda130")
