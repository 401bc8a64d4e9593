"""Fuzzes the C++ core and every parser in Python for as long as asked: make fuzz.

Half of the time goes to the core: by libFuzzer where clang is, else by random changes. Half goes to the
parsers: random changes over all of them, then some of them by atheris, as many as the time allows.
"""

import argparse
import json
import os
import platform
import random
import re
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]
CORPUS = ROOT / "tests/fuzz/corpus"
CORE = ("records", "augment", "order")
ATHERIS_SECONDS = 15  # a parser: below, its start costs more than its work
MAX_INPUT = 1500  # bytes, of the core's fuzzers


def main() -> int:
    """Build, fuzz, print the counts; 1 if an input broke something."""
    parser = argparse.ArgumentParser(prog="fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long, without building (default: 60)")
    parser.add_argument("--seed", type=int, help="(default: a new one, which is told)")
    parser.add_argument("--keep", action="store_true", help="add what libFuzzer finds to the corpus")
    parser.add_argument("--out", type=Path, help="a JSON file for the figures")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(1, 10**6) if options.seed is None else options.seed
    begin = time.monotonic()
    core, how = fuzz_core(options.seconds / 2, seed, options.keep)
    parsers = fuzz_parsers(options.seconds / 2, seed)
    results = {**core, **parsers}
    failed = [name for name, inputs in results.items() if inputs is None]
    inputs = sum(inputs or 0 for inputs in results.values())
    figures = {"seed": seed, "seconds": round(time.monotonic() - begin, 1), "core_by": how}
    figures |= {"atheris": find_spec("atheris") is not None, "inputs": results, "failed": failed}
    figures |= {"date": time.strftime("%Y-%m-%d"), "machine": f"{platform.machine()}, {os.cpu_count()} cores"}
    if options.out is not None:
        options.out.write_text(json.dumps(figures, indent=1) + "\n")
    verdict = f"failed: {', '.join(failed)}" if failed else "no input broke anything"
    print(f"fuzz: {verdict}: seed {seed}, {inputs:,} inputs, core by {how}", flush=True)
    return 1 if failed else 0


def clang() -> str | None:
    """A clang++ that has libFuzzer."""
    names = [os.environ.get("CLANGXX", "clang++"), *(f"clang++-{version}" for version in range(25, 13, -1))]
    for name in names:
        command = [name, "-x", "c++", "-fsanitize=fuzzer,address", "-o", os.devnull, "-"]
        program = 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }'
        if (
            shutil.which(name)
            and not subprocess.run(command, input=program, capture_output=True, text=True).returncode
        ):
            return name
    return None


def build() -> tuple[Path, str]:
    """The folder with the core's fuzzers under ASan and UBSan, and what drives them."""
    compiler = clang()
    folder = ROOT / "build" / ("fuzz-clang" if compiler else "fuzz")
    tools = Path(sys.executable).parent
    search = os.pathsep.join([str(tools), os.environ["PATH"]])
    cmake, ninja = shutil.which("cmake", path=search), shutil.which("ninja", path=search)
    settings = ["-DSELFIE_PYTHON=OFF", "-DSELFIE_FUZZ=ON", "-DSELFIE_SANITIZE=address,undefined"]
    settings += ["-DCMAKE_BUILD_TYPE=RelWithDebInfo", f"-DCMAKE_MAKE_PROGRAM={ninja}"]
    settings += [f"-DCMAKE_CXX_COMPILER={compiler}"] if compiler else []
    for command in ([cmake, "-S", ROOT, "-B", folder, "-G", "Ninja", *settings], [cmake, "--build", folder]):
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            raise SystemExit(result.stdout + result.stderr)
    if compiler is None:
        print("fuzz: no clang++ with libFuzzer is here: random changes drive the core's fuzzers", flush=True)
    return folder, "libFuzzer" if compiler else "random changes"


def fuzz_core(seconds: float, seed: int, keep: bool) -> tuple[dict, str]:
    """Inputs tried by fuzzer of the core, None where one failed; and what drove them."""
    folder, how = build()
    found = {}
    for name in CORE:
        corpus = CORPUS / name
        work = folder / f"work-{name}"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        each = max(1, round(seconds / len(CORE)))
        flags = [f"-max_total_time={each}", f"-seed={seed}", f"-max_len={MAX_INPUT}", "-print_final_stats=1"]
        flags += ["-timeout=20", "-rss_limit_mb=2048", str(work), str(corpus)]
        command = [folder / f"{name}_fuzzer", *flags]
        result = subprocess.run(command, cwd=work, capture_output=True, text=True, errors="replace")
        counted = re.search(r"stat::number_of_executed_units: (\d+)", result.stdout + result.stderr)
        found[f"core: {name}"] = int(counted[1]) if counted and not result.returncode else None
        print(f"fuzz: core, {name}: {found[f'core: {name}']} inputs in {each} s", flush=True)
        if result.returncode:
            print((result.stdout + result.stderr)[-4000:], file=sys.stderr)
            print(f"FAILED: {name}, seed {seed}; inputs are in {work}", file=sys.stderr, flush=True)
        elif keep and how == "libFuzzer":
            merge = [folder / f"{name}_fuzzer", "-set_cover_merge=1", str(corpus), str(work)]
            subprocess.run(merge, cwd=work, capture_output=True)
            for path in corpus.iterdir():
                path.rename(path.with_suffix(".bin"))
    return found, how


def fuzz_parsers(seconds: float, seed: int) -> dict:
    """Inputs tried by parser, None where one failed."""
    rng = random.Random(seed)
    tasks = [("all", seconds, ["--mutate"])]
    if find_spec("atheris") is not None and seconds >= 2 * ATHERIS_SECONDS:
        from fuzz.parsers import PARSERS

        names = rng.sample(list(PARSERS), min(len(PARSERS), int(seconds / 2 / ATHERIS_SECONDS)))
        tasks = [("all", seconds / 2, ["--mutate"])]
        tasks += [(name, seconds / 2 / len(names), [f"-seed={seed}"]) for name in names]
    found = {}
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests")}
    for name, share, flags in tasks:
        command = [sys.executable, "-m", "fuzz.parsers", name, "--seconds", str(share), *flags]
        command += ["--seed", str(seed)] if "--mutate" in flags else []
        work = ROOT / "build/fuzz-parsers"
        work.mkdir(parents=True, exist_ok=True)
        result = subprocess.run(
            command, cwd=work, env=environment, capture_output=True, text=True, errors="replace"
        )
        counted = re.search(rf"^{re.escape(name)}: (\d+) inputs.*$", result.stdout, re.MULTILINE)
        label = f"parsers: {name}" if "--mutate" in flags else f"parsers, atheris: {name}"
        found[label] = int(counted[1]) if counted and not result.returncode else None
        print(f"fuzz: {label}: {counted[0] if counted else 'failed'}", flush=True)
        if found[label] is None:
            print((result.stdout + result.stderr)[-4000:], file=sys.stderr)
            print(f"FAILED: {name}, seed {seed}; inputs are in {work}", file=sys.stderr, flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
