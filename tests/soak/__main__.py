"""Random operations, cuts of files and kills against slow models, for as long as asked: make soak.

Every trial is a pure function of (seed, part, number). A failure tells both and the command that repeats it.
"""

import argparse
import json
import os
import platform
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: trials fork
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

SHARES = {"loaders": 0.4, "truncations": 0.15, "kills": 0.25, "training": 0.2}  # of the time
PROGRESS_SECONDS = 10


def main() -> int:
    """Parse the options, soak, print the counts; 1 if a promise did not hold."""
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1800, help="how long (default: 30 minutes)")
    parser.add_argument("--seed", type=int, help="of all that is random (default: a new one, which is told)")
    parser.add_argument("--part", choices=SHARES, help="this part alone")
    parser.add_argument("--trial", type=int, help="of --part: this trial alone, to repeat a failure")
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    options = parser.parse_args()
    if options.trial is not None and options.part is None:
        parser.error("--trial needs the --part that it belongs to")
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    scratch = Path(tempfile.mkdtemp(prefix="selfie-soak-"))
    try:
        return soak(options, seed, scratch)
    except KeyboardInterrupt:
        print("\nstopped by Ctrl-C", file=sys.stderr)
        return 130
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def parts_of(chosen):
    """The functions that do a trial, by part."""
    import torch

    from soak import kills, loaders, training, truncations

    torch.set_num_threads(1)
    modules = {"loaders": loaders, "truncations": truncations, "kills": kills, "training": training}
    return {name: module.run for name, module in modules.items() if chosen in (None, name)}


def soak(options, seed: int, scratch: Path) -> int:
    """Trials of the parts in turn, by their shares of the time."""
    from soak.memory import Samples
    from soak.trial import Trial

    parts = parts_of(options.part)
    counts, used, done = Counter(), Counter(), Counter()
    samples, begin, told = Samples(), time.monotonic(), 0.0
    failure = None
    print(f"soak: seed {seed}, {options.seconds:.0f} seconds, parts {', '.join(parts)}", flush=True)
    while (now := time.monotonic() - begin) < options.seconds and failure is None:
        part = min(parts, key=lambda name: used[name] / SHARES[name])
        number = done[part] if options.trial is None else options.trial
        trial = Trial(seed, part, number, scratch)
        try:
            parts[part](trial)
        except Exception as error:
            traceback.print_exc()
            failure = f"{part}, trial {number}, seed {seed}: {type(error).__name__}: {error}"
            print(f"FAILED: {failure}\nrepeat it: {trial.repeat}", file=sys.stderr, flush=True)
        done[part] += 1
        counts.update(trial.counts)
        after = time.monotonic() - begin
        used[part] += after - now
        samples.take()
        if after >= told + PROGRESS_SECONDS or failure:
            told = after
            row = ", ".join(f"{count:,} {name}" for name, count in done.items())
            left = max(0, options.seconds - after)
            memory = f"{samples.rows[-1][1]:.0f} MB"
            print(f"soak: {row}; {memory}; {after:.0f} s, {left:.0f} s left", flush=True)
        if options.trial is not None:
            break
    for part in parts.values():
        getattr(part, "close", lambda: None)()
    return report(options, seed, counts, done, samples.judged(), time.monotonic() - begin, failure)


def report(options, seed, counts, done, memory, seconds, failure) -> int:
    """The last line, and the JSON; the exit status."""
    is_long = options.seconds >= 60 and options.part in (None, "loaders")
    flat = memory["flat"] or not is_long
    figures = {
        "seed": seed,
        "seconds": round(seconds, 1),
        "trials": dict(done),
        "counts": dict(sorted(counts.items())),
        "memory": memory,
        "failure": failure,
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }
    if options.out is not None:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")
    row = ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))
    grown = f"memory {memory['first_megabytes']} MB -> {memory['last_megabytes']} MB"
    verdict = "failed" if failure else "memory or descriptors grew" if not flat else "all promises held"
    if failure is None and not flat:
        print(f"FAILED: not flat: {memory}", file=sys.stderr)
    print(f"soak: {verdict}: seed {seed}, {seconds:.0f} s: {row}; {grown}", flush=True)
    return 1 if failure or not flat else 0


if __name__ == "__main__":
    sys.exit(main())
