"""A DALI pipeline as one writes it by hand for a data set in memory: the rival of backend="dali".

The pictures are gathered by NumPy, NumPy's random numbers place the window, DALI normalises.
"""

import numpy as np
from nvidia.dali import Pipeline, fn, types
from torch.utils.dlpack import from_dlpack


class DaliByHand:
    """Pads by 4, crops, mirrors half of the pictures and normalises to float32.

    mean, std: of each channel; None: each picture's own, over all its values
    """

    def __init__(self, split, mean, std, *, batch_size, num_threads, prefetch_batches, device_id=None):
        self.pictures = split.images(np.arange(len(split)))
        self.labels = split.labels
        self.batch_size = batch_size
        self.rng = np.random.default_rng(0)
        self.permutation = None
        self.pipeline = Pipeline(
            batch_size, num_threads, device_id=device_id, prefetch_queue_depth=1 + prefetch_batches
        )
        with self.pipeline:
            pictures, labels, start, mirror = fn.external_source(
                self.source, num_outputs=4, batch=True, layout=["CHW", "", "", ""]
            )
            if device_id is not None:
                pictures, labels = pictures.gpu(), labels.gpu()
            pictures = fn.slice(
                pictures,
                start=start,
                shape=split.layout.shape[1:],
                axis_names="HW",
                out_of_bounds_policy="pad",
            )
            if mean is None:
                pictures = fn.normalize(fn.flip(pictures, horizontal=mirror), axes=(0, 1, 2))
            else:
                pictures = fn.crop_mirror_normalize(
                    pictures,
                    mirror=mirror,
                    mean=[255 * value for value in mean],
                    std=[255 * value for value in std],
                    dtype=types.FLOAT,
                    output_layout="CHW",
                )
            self.pipeline.set_outputs(pictures, labels)

    def source(self, number):
        begin = number * self.batch_size
        if begin >= len(self.labels):
            raise StopIteration
        if number == 0:
            self.permutation = self.rng.permutation(len(self.labels))
        chosen = self.permutation[begin : begin + self.batch_size]
        start = self.rng.integers(-4, 5, (chosen.size, 2), dtype=np.int32)
        mirror = self.rng.integers(0, 2, chosen.size, dtype=np.int32)
        return self.pictures[chosen], self.labels[chosen], start, mirror

    def __iter__(self):
        for _ in range(-(-len(self.labels) // self.batch_size)):
            yield [from_dlpack(output.as_tensor()) for output in self.pipeline.run()]
        self.pipeline.reset()
