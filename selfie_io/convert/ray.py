"""Runs the shards of a plan as Ray tasks, then merges them: the extra [ray].

    from selfie_io.convert.ray import run_plan
    run_plan("plan.json", address="auto")

The machines of the cluster share the file system that the plan, its source and OUT are on, or reach
them by URLs.
"""

from pathlib import Path

from selfie_io.convert.commands.merge import Merge
from selfie_io.convert.commands.run import RunShard
from selfie_io.convert.shard_plan import read_plan
from selfie_io.convert.storage.locations import is_url
from selfie_io.termination import sigterm_handler_kept


def run_plan(plan: str | Path, *, address: str | None = None, workers: int = 1, force: bool = False) -> int:
    """Write every shard of `plan` as a task and merge them; returns the exit status of the merge.

    `workers` processes decode for each shard, and its task asks the cluster for as many CPUs. A
    shard that is written already is left as it is. Raises what a shard raises.
    """
    try:
        import ray
    except ImportError as error:
        raise ModuleNotFoundError("run_plan needs ray: pip install 'selfie-io[ray]'") from error
    path = plan if isinstance(plan, str) and is_url(plan) else str(Path(plan).resolve())
    num_shards = read_plan(path).num_shards
    started = not ray.is_initialized()
    if started:
        with sigterm_handler_kept():
            ray.init(address=address)
    try:
        run_shard = ray.remote(num_cpus=workers)(_run_shard)
        ray.get([run_shard.remote(path, shard, workers) for shard in range(num_shards)])
    finally:
        if started:
            ray.shutdown()
    return Merge(path, force=force).run()


def _run_shard(plan: str, shard: int, workers: int) -> int:
    return RunShard(plan, shard, workers=workers).run()
