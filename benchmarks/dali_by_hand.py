"""A hand-written DALI pipeline for a data set in memory: the rival of backend="dali".

NumPy gathers the images and draws the windows; DALI crops, flips and normalises.
"""

import numpy as np
from nvidia.dali import Pipeline, fn, types
from torch.utils.dlpack import from_dlpack


class DaliByHand:
    """Pads by 4, crops, flips half of the images and normalises to float32.

    mean, std: one value a channel; None normalises each image by its own mean and deviation
    """

    def __init__(self, split, mean, std, *, batch_size, num_threads, prefetch_batches, device_id=None):
        self.images = split.images(np.arange(len(split)))
        self.labels = split.labels
        self.batch_size = batch_size
        self.rng = np.random.default_rng(0)
        self.permutation = None
        self.pipeline = Pipeline(
            batch_size, num_threads, device_id=device_id, prefetch_queue_depth=1 + prefetch_batches
        )
        with self.pipeline:
            images, labels, start, mirror = fn.external_source(
                self.source, num_outputs=4, batch=True, layout=["CHW", "", "", ""]
            )
            if device_id is not None:
                images, labels = images.gpu(), labels.gpu()
            images = fn.slice(
                images,
                start=start,
                shape=split.layout.shape[1:],
                axis_names="HW",
                out_of_bounds_policy="pad",
            )
            if mean is None:
                images = fn.normalize(fn.flip(images, horizontal=mirror), axes=(0, 1, 2))
            else:
                images = fn.crop_mirror_normalize(
                    images,
                    mirror=mirror,
                    mean=[255 * value for value in mean],
                    std=[255 * value for value in std],
                    dtype=types.FLOAT,
                    output_layout="CHW",
                )
            self.pipeline.set_outputs(images, labels)

    def source(self, number):
        begin = number * self.batch_size
        if begin >= len(self.labels):
            raise StopIteration
        if number == 0:
            self.permutation = self.rng.permutation(len(self.labels))
        chosen = self.permutation[begin : begin + self.batch_size]
        start = self.rng.integers(-4, 5, (chosen.size, 2), dtype=np.int32)
        mirror = self.rng.integers(0, 2, chosen.size, dtype=np.int32)
        return self.images[chosen], self.labels[chosen], start, mirror

    def __iter__(self):
        for _ in range(-(-len(self.labels) // self.batch_size)):
            yield [from_dlpack(output.as_tensor()) for output in self.pipeline.run()]
        self.pipeline.reset()
