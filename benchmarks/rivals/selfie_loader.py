"""The loader of this project, called as a user calls it."""

from serving import MEAN, PAD, STD, serve

import selfie_io as sio


def open_epoch(work):
    options = dict(work.options)
    augment = {"pad": PAD, "flip": "random", **options.pop("augment", {})}
    normalize = sio.PerImage() if options.pop("per_image", False) else sio.PerChannel(MEAN, STD)
    return sio.Loader(
        sio.open_dataset(work.folder, shape=(3, work.side, work.side)).train,
        batch_size=work.batch_size, num_threads=work.threads, shuffle=True,
        augment=sio.Augment(**augment), normalize=normalize, **options,
    )  # fmt: skip


serve(open_epoch)
