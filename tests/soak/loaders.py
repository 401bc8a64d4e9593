"""Part `loaders`: random operations on loaders, each batch compared with the slow model."""

import gc
import json
import os
import pickle
import zlib

import numpy as np
from conftest import make_folder

import selfie_io as sio
from soak.loader_model import LoaderModel, Records
from soak.trial import Trial, expect

CLASSES = 10
SHAPES = [(3, 8, 8), (1, 9, 7), (3, 32, 32), (2, 5, 16)]
WRONG_OPTIONS = [
    {"batch_size": 0}, {"batch_size": 2.5}, {"seed": -1}, {"seed": 2**64}, {"order": "random"},
    {"shuffle": "no"},
    {"dtype": "int8"}, {"layout": "CHWN"}, {"io": "read"}, {"views": 0}, {"views": 257}, {"rank": 99},
    {"num_threads": 0}, {"prefetch_batches": 0}, {"labels": [0]}, {"labels": [0.5] * 73}, {"weights": [1.0]},
    {"weights": [float("nan")] * 73}, {"indices": [73]}, {"indices": [-1]}, {"indices": [0, 0]},
    {"indices": []},
    {"normalize": "mean"}, {"augment": {"pad": 4}}, {"backend": "cpu"}, {"device": "nowhere"},
]  # fmt: skip
WRONG_STATES = [
    ("version", 99), ("epoch", -1), ("epoch", 2**32), ("epoch", "0"), ("position", -1), ("position", 10**9),
    ("position", None), ("seed", 12345678901), ("order", "other"), ("num_records", 1), ("records", "0" * 64),
    ("labels", "other"), ("augment", "{}?"), ("dtype", "other"), ("views", 99),
]  # fmt: skip


class Session:
    """A loader, its model, and where both stand."""

    def __init__(self, trial: Trial, split, records: Records) -> None:
        self.trial, self.random = trial, trial.random
        self.split, self.records = split, records
        self.options = self.draw_options()
        self.model = LoaderModel(records, self.options)
        self.loader = self.open()
        self.position = self.next = (0, 0)
        self.live = None
        self.kept = []  # batches and their checksums: nothing may change them

    def draw_options(self):
        random, shape = self.random, self.records.pixels.shape[1:]
        count = len(self.records.labels)
        options = {
            "batch_size": random.choice([1, 3, 7, 16, 73, 100]),
            "shuffle": random.random() < 0.8,
            "drop_last": random.random() < 0.3,
            "seed": random.choice([0, random.randrange(2**64)]),
            "views": random.choice([1, 1, 1, 2]),
            "augment": self.draw_augment(shape),
            "normalize": random.choice(
                [None, sio.PerImage(), sio.PerChannel([0.4] * shape[0], [0.2] * shape[0])]
            ),
            "dtype": random.choice(["float32", "float16", "bfloat16", "uint8"]),
            "layout": random.choice(["NCHW", "NHWC"]),
            "order": random.choice(["permutation", "permutation", "independent", "quasi"]),
            "rank": 0,
            "world_size": 1,
        }
        if random.random() < 0.2:
            options["world_size"] = random.randrange(2, 5)
            options["rank"] = random.randrange(options["world_size"])
        if random.random() < 0.25:
            options["indices"] = random.sample(range(count), random.randrange(1, count))
        if random.random() < 0.25:
            options["labels"] = [random.randrange(CLASSES) for _ in range(count)]
        if random.random() < 0.2:
            options["order"] = "permutation"
            options["weights"] = [random.choice([0.5, 1.0, 3.0]) for _ in range(count)]
        return options

    def draw_augment(self, shape):
        random, (_, height, width) = self.random, shape
        options = {"flip": random.choice(["none", "random", "alternate"])}
        if random.random() < 0.5:
            options["pad"] = random.randrange(min(height, width))
            options["pad_mode"] = random.choice(["zeros", "reflect"])
            options["crop"] = (random.randrange(1, height + 1), random.randrange(1, width + 1))
        if random.random() < 0.3:
            options |= {"brightness": 63.0, "contrast": (0.2, 1.8), "cutout": random.randrange(5)}
        return sio.Augment(**options)

    def open(self, **changed):
        random = self.random
        return sio.Loader(
            self.split,
            **{
                "num_threads": random.choice([1, 2, 5]),
                "prefetch_batches": random.choice([1, 2, 4]),
                "io": random.choice(["auto", "mmap", "pread"]),
                "backend": "resident" if random.random() < 0.05 else "native",
                **self.options,
                **changed,
            },
        )

    def check(self, epoch, number, batch):
        def sample(views, count):
            share = 1 if self.trial.number % 10 == 0 else 0.1  # the reference takes milliseconds an image
            if count and self.random.random() < share:
                yield self.random.randrange(views), self.random.randrange(count)

        wrong = self.model.difference(epoch, number, batch, sample)
        expect(wrong is None, f"epoch {epoch}, batch {number} of {self.loader!r}: {wrong}")
        self.trial.counts["batches"] += 1

    # The operations. Each is called with nothing and leaves loader and model at the same place.

    def iterate(self):
        """Some batches of the live iterator; at the end of the epoch it ends."""
        if self.live is None:
            self.begin()
        for _ in range(self.random.choice([1, 2, 5, 1000])):
            epoch, number = self.position
            batch = next(self.live, None)
            expect((batch is None) == (number >= len(self.model)), f"batch {number} of {len(self.model)}")
            if batch is None:
                self.live = None
                return
            self.check(epoch, number, batch)
            self.position = (epoch, number + 1)
            if len(self.kept) < 5 and self.random.random() < 0.2:
                self.kept.append((batch, self.checksum(batch)))

    def begin(self):
        """A new iteration; the old one is left where it is."""
        self.live = iter(self.loader)
        self.position, self.next = self.next, (self.next[0] + 1, 0)

    def resume(self):
        """The state as JSON, into a new loader with other threads, and perhaps another batch size."""
        state = json.loads(json.dumps(self.loader.state_dict()))
        epoch, batch = self.position
        if batch > 0 and batch >= len(self.model):
            epoch, batch = epoch + 1, 0
        expect(state["epoch"] == epoch, f"state {state} at {self.position}")
        expect(state["position"] == batch * self.model.global_batch_size, f"state {state} at {self.position}")
        self.loader.close()
        self.live = None
        half, rest = divmod(self.options["batch_size"], 2)
        if not self.model.is_independent and half and not rest and self.random.random() < 0.5:
            self.options["batch_size"], batch = half, 2 * batch
        self.loader = self.open()
        self.loader.load_state_dict(state)
        self.position = self.next = (epoch, batch)
        self.trial.counts["resumes of loaders"] += 1

    def copy(self):
        """A pickled loader goes on where the old one stood, inside an epoch too."""
        epoch, batch = self.position
        if batch > 0 and batch >= len(self.model):
            epoch, batch = epoch + 1, 0
        self.loader = pickle.loads(pickle.dumps(self.loader))
        self.position = self.next = (epoch, batch)
        self.live = None

    def fork(self):
        """A forked child has the next epoch; the parent's iteration goes on."""
        if self.loader.options.backend == "resident":  # torch's threads do not survive a fork
            return
        child = os.fork()
        if child == 0:
            try:
                epoch, number = self.next
                for batch in self.loader:
                    self.check(epoch, number, batch)
                    number += 1
                os._exit(0)
            except BaseException as error:
                os.write(2, f"in a forked child: {error}\n".encode())
                os._exit(1)
        expect(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, "a forked child failed, see above")
        self.trial.counts["forks"] += 1

    def jump(self):
        """set_epoch, also to the last one that exists."""
        epoch = self.random.choice([0, 1, self.random.randrange(2**32 - 5)])
        self.loader.set_epoch(epoch)
        self.position = self.next = (epoch, 0)
        self.live = None

    def close(self):
        """A closed loader refuses, closes twice, and is opened anew."""
        self.loader.close()
        self.loader.close()
        try:
            iter(self.loader)
            expect(False, "a closed loader began an iteration")
        except RuntimeError:
            pass
        self.live = None
        self.loader = self.open()
        self.position = self.next = (0, 0)

    def draws(self):
        """The draws as arrays equal the reference."""
        epoch, view = self.random.randrange(100), self.random.randrange(self.options["views"])
        index = self.random.randrange(len(self.records.labels))
        from reference import expect_draw

        expect_draw(self.loader.draws(epoch, [index], view), 0, self.model.draw(epoch, index, view))

    def refuse(self):
        """Wrong options and states are refused by name, and change nothing."""
        wrong = self.random.choice(WRONG_OPTIONS)
        key, value = self.random.choice(WRONG_STATES)
        state = {**self.loader.state_dict(), key: value}
        for what, call in ((wrong, lambda: self.open(**wrong)), ({key: value}, self.load(state))):
            try:
                call()
            except ValueError as error:
                expect(bool(str(error)), f"{what}: no reason was given")
            except Exception as error:
                expect(False, f"{what}: {type(error).__name__}: {error}")
            else:
                expect(what is not wrong, f"{what} was accepted")
                same = key in self.loader.state_dict() and state[key] == self.loader.state_dict()[key]
                expect(same, f"the state {what} was accepted")
            self.trial.counts["bad inputs"] += 1

    def load(self, state):
        return lambda: self.loader.load_state_dict(state)

    def overlay(self):
        """Labels that are saved as an overlay come back, and a loader takes them."""
        labels = [self.random.randrange(CLASSES) for _ in self.records.labels]
        dataset = sio.open_dataset(
            self.split.dataset_path, shape=self.split.layout.shape, num_classes=CLASSES
        )
        sio.save_overlay(dataset, "soak", np.array(labels), {"kind": "soak"})
        read = dataset.train.labels_from("soak")
        expect(read.tolist() == labels, "the labels of an overlay")
        self.options["labels"] = labels
        self.live = None
        self.loader = self.open(labels=read)
        self.model.options = self.options
        self.position = self.next = (0, 0)
        self.trial.counts["overlays"] += 1

    @staticmethod
    def checksum(batch):
        return [zlib.crc32(tensor.float().numpy()) for tensor in batch]


OPERATIONS = [Session.iterate] * 8 + [
    Session.begin, Session.resume, Session.resume, Session.copy, Session.fork, Session.jump, Session.close,
    Session.draws, Session.refuse, Session.overlay,
]  # fmt: skip


def data_set(trial: Trial, shape):
    """73 records of a shape, made once a soak: (split, records)."""
    folder = trial.scratch / f"records-{shape[0]}x{shape[1]}x{shape[2]}"
    content = make_folder(folder, shape=shape) if not folder.exists() else None
    keep = folder / "records.npz"
    if content is not None:
        np.savez(keep, record_ids=content[0], labels=content[1], pixels=content[2])
    with np.load(keep) as arrays:
        records = Records(arrays["record_ids"], arrays["labels"], arrays["pixels"])
    return sio.open_dataset(folder, shape=shape, num_classes=CLASSES).train, records


def run(trial: Trial) -> None:
    """One session of 5 to 20 operations over one data set."""
    split, records = data_set(trial, trial.random.choice(SHAPES))
    if trial.random.random() < 0.2:
        split = pickle.loads(pickle.dumps(split))
    session = Session(trial, split, records)
    for _ in range(trial.random.randrange(5, 20)):
        operation = trial.random.choice(OPERATIONS)
        operation(session)
        trial.counts["operations"] += 1
    for batch, checksum in session.kept:
        expect(session.checksum(batch) == checksum, "a batch that was kept has changed")
    session.loader.close()
    session.live = None
    del session
    gc.collect()
