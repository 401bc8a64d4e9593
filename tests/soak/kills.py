"""Part `kills`: the commands of selfie-convert are killed at random; the old state or the new one is left.

Afterwards the command is run again: it must finish, with the bytes of a run that nobody killed, and leave
nothing of the killed one, in TMPDIR too.
"""

import shutil
import time
from pathlib import Path

import msgspec
import numpy as np
from converting import as_zip, encoded

from selfie_io.records.overlay_reader import load_overlay
from soak.starter import Starter
from soak.trial import Trial, expect

MODULES = [
    "selfie_io.convert.decoding.worker_process", "selfie_io.labels.noise", "selfie_io.labels.human_labels",
    "selfie_io.labels.overlay_writer",
    "selfie_io.convert.export_formats",
    "selfie_io.convert.correction.shards",
    "selfie_io.records.dataset", "PIL.Image", "PIL.PngImagePlugin", "pyarrow.parquet",
]  # fmt: skip
PACK = ("pack", "source.zip", "set", "--records-per-file", 10, "--workers", 1)
OLD_PACK = ("pack", "source.zip", "set", "--records-per-file", 30, "--workers", 1)
PLAN = ("plan", "source.zip", "plan.json", "--shards", 2, "--records-per-file", 10)
SHARDS = [("run", "plan.json", "--shard", shard) for shard in range(2)]
NOISE = ("noise", "set", "--kind", "symmetric", "--name", "soak", "--rate")
LABELS = ("labels", "set", "new.csv", "--key", "label", "--name", "soak")
# What is killed, what is run before it, and what then shows its work where nothing is seen of it yet.
COMMANDS = {
    "pack": (PACK, [], []),
    "pack --force": ((*PACK, "--force"), [OLD_PACK], []),
    "run --shard": (SHARDS[1], [PLAN, SHARDS[0]], [("merge", "plan.json")]),
    "merge": (("merge", "plan.json"), [PLAN, *SHARDS], []),
    "noise, first": ((*NOISE, 0.4), [PACK], []),
    "noise, again": ((*NOISE, 0.4), [PACK, (*NOISE, 0.2)], []),
    "labels": (LABELS, [PACK, (*NOISE, 0.2)], []),
    "apply": (("apply", "source.zip", "decisions.csv", "corrected.zip"), [], []),
    "apply to a folder": (("apply", "source", "decisions.csv", "corrected"), [], []),
    "export folder": (("export", "set", "exported"), [PACK], []),
    "export npz": (("export", "set", "exported.npz", "--to", "npz"), [PACK], []),
    "export parquet": (("export", "set", "exported", "--to", "parquet"), [PACK], []),
    "export webdataset": (("export", "set", "exported", "--to", "webdataset"), [PACK], []),
}


def make_inputs(folder: Path) -> None:
    """A source of 60 images as a zip and as a folder, labels for it, and decisions about it."""
    rng = np.random.default_rng(0)
    members = {
        f"{split}/{name}/{number:03d}.png": encoded(rng.integers(0, 256, (8, 8, 3), "u1"))
        for split, count in (("train", 20), ("test", 10))
        for name in ("cat", "dog")
        for number in range(count)
    }
    as_zip(folder / "source.zip", members)
    shutil.unpack_archive(folder / "source.zip", folder / "source")
    names = [name for name in members if name.startswith("train")]
    rows = [f"{index},{int(index % 3 == 0)}" for index in range(len(names))]
    (folder / "new.csv").write_text("index,label\n" + "\n".join(rows) + "\n")
    header = "name,record_id,index,given_label,decision,label,note"
    decided = [
        f"{name},,,{name.split('/')[1]},{'relabel' if number % 2 else 'drop'},{'cat' if number % 2 else ''},"
        for number, name in enumerate(names)
        if "/dog/" in name
    ]
    (folder / "decisions.csv").write_text("\n".join([header, *decided]) + "\n")


def tree(folder: Path) -> dict:
    """Every file that a user sees below a folder, with its content; unfinished ones begin with a dot.

    An overlay is what a reader gets: while it is replaced, its JSON file fits the old array and the new one.
    """
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }
    for name in [name for name in files if "/labels/" in name and name.endswith(".json")]:
        path = folder / name
        entry, labels = load_overlay(path.parent.parent, path.stem)
        files.pop(name.removesuffix(".json") + ".npy")
        files[name] = repr({**msgspec.to_builtins(entry), "previous": None, "labels": labels.tolist()})
    return files


def leftovers(*folders: Path) -> list:
    """What a writer that was killed may leave, until the next one."""
    return [str(path) for folder in folders for path in folder.rglob("*") if ".partial-" in path.name]


class Kills:
    """The prepared states of every command, made on first use."""

    def __init__(self) -> None:
        self.starter: Starter | None = None
        self.prepared: dict = {}

    def start(self, trial: Trial) -> Starter:
        """The process that starts the commands."""
        if self.starter is None:
            self.starter = Starter("selfie_io.convert.cli:main", MODULES, trial.folder("kills"))
        return self.starter

    def prepare(self, trial: Trial, name: str):
        """(old folder, old tree, new tree, seconds, calls, system calls) of a command."""
        starter, work = self.start(trial), trial.folder("kill-work")
        if name not in self.prepared:
            command, before, after = COMMANDS[name]
            make_inputs(work)
            self.then(before, work)
            old = trial.scratch / f"old-{len(self.prepared)}"
            shutil.rmtree(old, ignore_errors=True)
            shutil.copytree(work, old)
            seconds = time.monotonic()
            expect(starter.run(command, work) == 0, f"{command}: {starter.output()}")
            seconds, calls, system_calls = time.monotonic() - seconds, starter.calls(), 0
            self.then(after, work)
            new = tree(work)
            if starter.strace:
                self.lay(old, work)
                starter.run(command, work, kill=("system call", 0))
                system_calls = starter.system_calls()
            expect(new != tree(old), f"{name} changes nothing")
            self.prepared[name] = (old, tree(old), new, seconds, calls, system_calls)
        return self.prepared[name]

    def then(self, commands, work: Path) -> None:
        """Run commands that must succeed."""
        for one in commands:
            expect(self.starter.run(one, work) == 0, f"{one}: {self.starter.output()}")

    @staticmethod
    def lay(old: Path, work: Path) -> None:
        shutil.rmtree(work)
        shutil.copytree(old, work)

    def __call__(self, trial: Trial) -> None:
        """Kill one command, look, run it again, look."""
        random = trial.random
        name = random.choice(list(COMMANDS))
        old, old_tree, new_tree, seconds, calls, system_calls = self.prepare(trial, name)
        starter, work = self.start(trial), trial.scratch / "kill-work"
        self.lay(old, work)
        how = random.choice(["moment", "call", "system call"] if starter.strace else ["moment", "call"])
        bounds = {"moment": 0, "call": calls, "system call": system_calls}
        when = random.uniform(0, 1.2 * seconds) if how == "moment" else random.randrange(1, bounds[how] + 1)
        status = starter.run(COMMANDS[name][0], work, kill=(how, when))
        told = f"{name}, killed at {how} {when}: "
        expect(status in (0, -9), told + f"status {status}: {starter.output()}")
        found = tree(work)
        state = "old" if found == old_tree else "new" if found == new_tree else ""
        changed = [one for one in {*found, *old_tree} if found.get(one) != old_tree.get(one)]
        expect(bool(state), told + f"neither the old state nor the new one: {sorted(changed)}")
        if status == -9:
            trial.counts[f"kills at a {how}"] += 1
            trial.counts["kills"] += 1
            trial.counts[f"kills that left the {state} state"] += 1
        if state == "old":
            status = starter.run(COMMANDS[name][0], work)
            expect(status == 0, told + f"the next run gave {status}: {starter.output()}")
            self.then(COMMANDS[name][2], work)
            expect(tree(work) == new_tree, told + "the next run wrote something else")
            left = leftovers(work, starter.temporary) + [str(one) for one in starter.temporary.iterdir()]
            expect(not left, told + f"the next run left {left}")

    def close(self) -> None:
        """End the process that starts the commands."""
        if self.starter is not None:
            self.starter.close()


run = Kills()
