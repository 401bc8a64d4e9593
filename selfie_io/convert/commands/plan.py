"""selfie-convert plan: cuts a pack into shards for many machines (run writes them, merge joins
them).
"""

from dataclasses import asdict, dataclass

import tyro

from selfie_io.console import without_secrets
from selfie_io.convert.packing import PLAN_HINT, opened_source
from selfie_io.convert.reading import Reading
from selfie_io.convert.shard_plan import (
    MAX_SHARDS,
    ShardPlan,
    check_plan_target,
    cut,
    named_in,
    source_digest,
    write_plan,
)
from selfie_io.convert.storage.locations import name_of
from selfie_io.convert.subcommand import DONE, CommandError, Subcommand, say


@dataclass(frozen=True)
class Plan(Reading, Subcommand):
    """Cut the packing of SOURCE into shards: write PLAN.json for `run` and `merge`.

      selfie-convert plan images.zip plan.json --shards 8
      selfie-convert run plan.json --shard 3   each of 0..7, anywhere, in any order
      selfie-convert merge plan.json           writes what `selfie-convert pack` writes

    The machines share the file system that SOURCE, PLAN.json and OUT are on, or reach them by URLs
    (s3://...). A shard writes whole record files, so --records-per-file sets how finely the work
    can be cut.
    """

    EXAMPLES = (
        "selfie-convert plan images.zip plan.json --shards 8",
        "selfie-convert plan s3://bucket/images.tar s3://bucket/plan.json --shards 32 --size 64x64",
    )

    source: tyro.conf.Positional[str]
    """Where the images are: any source that pack reads."""
    plan: tyro.conf.Positional[str]
    """The plan to write: a path or a URL."""
    shards: int
    """The number of shards."""
    out: str | None = None
    """The folder that merge writes, or its URL; by default PLAN without .json."""

    def run(self) -> int:
        """Look at the source and write the plan."""
        self.check()
        if not self.plan.endswith(".json"):
            raise CommandError(f"PLAN must be a .json file, got {self.plan}")
        check_plan_target(self.plan)
        if not 1 <= self.shards <= MAX_SHARDS:
            raise CommandError(f"--shards must be in 1..{MAX_SHARDS}, got {self.shards}")
        out = self.out or self.plan.removesuffix(".json")
        if without_secrets(out) != out:
            raise CommandError(
                "OUT must be a URL without user info and query string, which no plan keeps, got "
                f"{without_secrets(out)} with some; give --out, and credentials by the environment"
            )
        kept = without_secrets(self.source)
        with opened_source(self.source, self.kind, self.source_options()) as source:
            plan = ShardPlan(
                source="digits" if self.source == "digits" else named_in(self.plan, kept),
                kind=source.kind,
                options=asdict(self.source_options()),
                labels=self.label_state(source),
                source_digest=source_digest(source),
                rule=asdict(self.image_rule(source, skip_bad=False, hint=PLAN_HINT)),
                name=self.name or name_of(out),
                class_names=self.all_class_names(source),
                provenance=self.provenance(source, self.source),
                out=named_in(self.plan, out),
                num_shards=self.shards,
                files=cut(source.splits, self.records_per_file, self.shards),
            )
        write_plan(self.plan, plan)
        if kept != self.source:
            say("note: the plan keeps no user info and no query string: give each run --source URL")
        busy = len({file.shard for file in plan.files})
        idle = f"; {self.shards - busy} shards have nothing to do" if busy < self.shards else ""
        print(f"{self.plan}: {len(plan.files)} record files in {self.shards} shards{idle}")
        return DONE
