"""Known vulnerabilities of pinned versions, by pip-audit: make audit-dependencies.

    python tests/audit_dependencies.py constraints.txt

Exit status 1 if a version has one. Where the database cannot be reached, a line says so and how many
versions were not audited; the status is then 0.
"""

import json
import subprocess
import sys


def audited(pins: str) -> dict:
    """What pip-audit says about the versions of a file, each alone; raises SystemExit if it cannot run."""
    command = [sys.executable, "-m", "pip_audit", "--requirement", pins, "--no-deps", "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off", "--timeout", "15"]
    result = subprocess.run(command, capture_output=True, text=True)
    try:
        return json.loads(result.stdout)
    except ValueError:
        lines = result.stderr.strip().splitlines() or ["pip-audit said nothing"]
        if any(
            word in result.stderr for word in ("ConnectionError", "Max retries", "Connection", "ServiceError")
        ):
            return {"dependencies": []}
        raise SystemExit(f"audit-dependencies: pip-audit failed: {lines[-1]}") from None


def report(found: dict, pinned: int) -> int:
    """Print a line for each vulnerability and one at the end; the exit status."""
    checked = [one for one in found["dependencies"] if "vulns" in one]
    wrong = [(one, vulnerability) for one in checked for vulnerability in one["vulns"]]
    for one, vulnerability in wrong:
        fixed = ", ".join(vulnerability["fix_versions"]) or "no version yet"
        print(f"{one['name']} {one['version']}: {vulnerability['id']}, fixed in {fixed}")
    left = pinned - len(checked)
    if left:
        print(
            f"audit-dependencies: the database has no answer here for {left} of {pinned} pinned versions: "
            "they were NOT audited; run it where the network allows"
        )
    print(f"audit-dependencies: {len(checked)} of {pinned} versions audited, {len(wrong)} vulnerabilities")
    return 1 if wrong else 0


def main() -> int:
    """Audit the file that the command names."""
    (pins,) = sys.argv[1:]
    with open(pins) as file:  # noqa: PTH123 (a script of one argument)
        pinned = sum("==" in line and not line.startswith("#") for line in file)
    return report(audited(pins), pinned)


if __name__ == "__main__":
    sys.exit(main())
