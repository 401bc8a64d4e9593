"""tf.data as in the SELFIE authors' program: fixed-length records, decoded and augmented one by one."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import tensorflow as tf
from serving import MEAN, PAD, STD, serve


def open_epoch(work):
    tf.config.threading.set_inter_op_parallelism_threads(work.threads)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    side, padded = work.side, work.side + 2 * PAD
    mean, std = 255 * tf.constant(MEAN), 255 * tf.constant(STD)

    def decode(record):
        values = tf.io.decode_raw(record, tf.uint8)
        image = tf.transpose(tf.reshape(values[8:], (3, side, side)), (1, 2, 0))
        image = tf.image.resize_with_crop_or_pad(image, padded, padded)
        image = tf.image.random_flip_left_right(tf.image.random_crop(image, (side, side, 3)))
        return tf.transpose((tf.cast(image, tf.float32) - mean) / std, (2, 0, 1)), values[7]

    files = sorted(str(path) for path in work.folder.glob("data_batch_*.bin"))
    records = tf.data.FixedLengthRecordDataset(files, 8 + 3 * side * side)
    return (
        records.cache().shuffle(50_000).map(decode, num_parallel_calls=work.threads)
        .batch(work.batch_size).prefetch(2)
    )  # fmt: skip


serve(open_epoch, "tensorflow-cpu")
