"""Check the loader on a GPU: its batches equal the CPU's bit for bit, and how fast it is.

Run, on a machine with a GPU: python benchmarks/gpu_check.py
It takes a few minutes and writes results/gpu_check.json and results/gpu_check.svg. Without a GPU it prints
its plan. `--device cpu --records 2000` rehearses everything on the CPU. Exit status 1: a batch differs.
"""

import argparse
import importlib.util
import itertools
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

import torch
from random_records import write_records
from timing import compare, save, show
from torch.nn.functional import cross_entropy

import selfie_io as sio
from selfie_io.loading.torch_pixels import _addcmul_is_fused
from selfie_train.models.builder import model_builder

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)
SHAPES = [(3, 32, 32), (1, 28, 28), (3, 64, 64)]
SEED, RECORDS = 818, 502  # the draws of these records cover all 81 windows and both flips
PHOTOMETRY = {"brightness": 63.0, "contrast": (0.2, 1.8), "cutout": 9}
PLAN = """Without a GPU there is nothing to check. With one, this would
 - compare every batch of backend="native", "resident" and "dali" on the GPU with the native one on the CPU,
   bit by bit: 3x32x32, 1x28x28 and 3x64x64; all 81 windows of a padding of 4 and both flips; padding by zeros
   and by reflection; all normalisations, dtypes and layouts; with and without photometry and cutout; on a
   CUDA stream of its own, with every batch kept until the last is made;
 - time an epoch of 50,000 images of 3x32x32 by native with pinned copies, resident (eager and compiled),
   DALI and a hand-written DALI pipeline; alone, and with a training step of {network};
 - write both to results/gpu_check.json, and the speeds to results/gpu_check.svg."""


def on_a_stream(device):
    return torch.cuda.stream(torch.cuda.Stream(device)) if device.type == "cuda" else nullcontext()


def difference(batches, wanted):
    """(number of values that differ, largest difference) over images, labels and indices."""
    values, largest = 0, 0.0
    for batch, native in zip(batches, wanted, strict=True):
        for tensor, other in zip(batch, native, strict=True):
            unequal = tensor.cpu() != other
            values += int(unequal.sum())
            if unequal.any():
                largest = max(largest, float((tensor.cpu().double() - other.double()).abs().max()))
    return values, largest


def check_parity(folder, device, backends, records):
    """One row for each backend: options compared, values that differ, largest difference."""
    rows = {
        backend: {"options": 0, "values_that_differ": 0, "largest": 0.0, "worst": ""} for backend in backends
    }
    for shape in SHAPES:
        write_records(folder / str(shape), records, shape)
        split = sio.open_dataset(folder / str(shape), shape=shape).train
        channels = shape[0]
        for pad_mode, photometry, normalize, dtype, layout in itertools.product(
            ("zeros", "reflect"),
            ({}, PHOTOMETRY),
            (None, sio.PerImage(), sio.PerChannel(MEAN[:channels], STD[:channels])),
            ("float32", "float16", "bfloat16", "uint8"),
            ("NCHW", "NHWC"),
        ):
            options = {
                "augment": sio.Augment(pad=4, flip="random", pad_mode=pad_mode, **photometry),
                "normalize": normalize,
                "dtype": dtype,
                "layout": layout,
                "seed": SEED,
                "batch_size": 128,
            }
            wanted = list(sio.Loader(split, **options))
            for backend, row in rows.items():
                with (
                    on_a_stream(device),
                    sio.Loader(split, backend=backend, device=device, **options) as loader,
                ):
                    values, largest = difference(list(loader), wanted)  # all kept until the last is made
                row["options"] += 1
                row["values_that_differ"] += values
                if largest > row["largest"]:
                    row["largest"] = largest
                    row["worst"] = f"{shape} {pad_mode} {photometry} {normalize} {dtype} {layout}"
    return rows


def compiled(loader):
    """Let torch.compile fuse the steps of the resident backend after the gather."""
    work = loader._backend._pixel_work
    work._addcmul_is_fused = False  # float64 gives the same bits fused or not
    work.cut, work.finish = (torch.compile(part, dynamic=True) for part in (work.cut, work.finish))
    return loader


def make_loaders(split, device, backends, batch_size):
    options = {
        "batch_size": batch_size,
        "shuffle": True,
        "augment": sio.Augment(pad=4, flip="random"),
        "normalize": sio.PerChannel(MEAN, STD),
        "device": device,
    }
    pinned = {"pin_memory": True} if device.type == "cuda" else {}
    loaders = {}
    for backend in backends:
        more = pinned if backend == "native" else {}
        loaders[backend] = sio.Loader(split, backend=backend, **options, **more)
    try:
        loader = compiled(sio.Loader(split, backend="resident", **options))
        next(iter(loader))
        loaders["resident, compiled"] = loader
    except Exception as error:  # an experiment: compilers fail in many ways
        print(f"torch.compile: {type(error).__name__}: {error}", file=sys.stderr)
    if "dali" in backends:
        from dali_by_hand import DaliByHand

        same = {key: getattr(loaders["dali"].options, key) for key in ("num_threads", "prefetch_batches")}
        gpu = torch.cuda.current_device() if device.type == "cuda" else None
        loaders["dali by hand"] = DaliByHand(split, MEAN, STD, batch_size=batch_size, device_id=gpu, **same)
    return loaders


def check_speed(folder, device, backends, network_name, arguments):
    """Epochs alone, and with a training step for each batch."""
    write_records(folder / "speed", arguments.records)
    split = sio.open_dataset(folder / "speed", shape=(3, 32, 32), num_classes=10).train
    loaders = make_loaders(split, device, backends, arguments.batch_size)
    network = model_builder(network_name)((3, 32, 32), 10).to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, nesterov=True)

    def wait():
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    def step(images, labels):
        optimizer.zero_grad(set_to_none=True)
        cross_entropy(network(images), labels.flatten()).backward()
        optimizer.step()

    def load(loader):
        for _ in loader:
            pass
        wait()

    def train(batches):
        for batch in batches:
            step(batch[0], batch[1])
        wait()

    images, labels, *_ = next(iter(loaders["native"]))
    steps = -(-arguments.records // arguments.batch_size)
    same_batch = {"no loading": lambda: train(itertools.repeat((images, labels), steps))}
    results = []
    for title, work, more in (("loading alone", load, {}), (f"training {network_name}", train, same_batch)):
        candidates = {
            name: (lambda loader=loader, work=work: work(loader)) for name, loader in loaders.items()
        }
        results.append(
            compare(
                f"{title}: {arguments.records:,} images, batches of {arguments.batch_size}, on {device}",
                {**candidates, **more},
                repeats=arguments.repeats,
                items=arguments.records,
            )
        )
        show(results[-1], baseline="native")
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--network", default="densenet-25-12")
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        print(PLAN.format(network=arguments.network))
        return 0
    backends = ["native", "resident"]
    if importlib.util.find_spec("nvidia") and importlib.util.find_spec("nvidia.dali"):
        backends.append("dali")
    else:
        print("DALI is not installed (pip install nvidia-dali-cuda130): skipped")
    with tempfile.TemporaryDirectory() as folder:
        rows = check_parity(Path(folder), device, backends, min(RECORDS, arguments.records))
        for backend, row in rows.items():
            print(f"{backend} on {device}: {row}")
        comparisons = check_speed(Path(folder), device, backends, arguments.network, arguments)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    stem = "gpu_check" if device.type == "cuda" else "gpu_check_rehearsal"
    fused = _addcmul_is_fused(device)
    print(save(stem, comparisons, device=name, addcmul_is_fused=fused, parity=rows))
    return int(any(row["values_that_differ"] for row in rows.values()))


if __name__ == "__main__":
    sys.exit(main())
