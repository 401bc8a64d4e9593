"""The command of a Python process that takes nothing from the current folder, nor from PYTHONPATH."""

import json
import sys

_START = """import sys
import json
sys.path[:] = json.loads(sys.argv[1])
from selfie_io.foreign_settings import ignore_foreign_settings
ignore_foreign_settings()
from {module} import main
sys.exit(main())"""


def isolated_python(module: str) -> list[str]:
    """A command that calls `main` of `module`, found on the paths of this process.

    It is isolated (-I). The paths are those of this process, less the empty one, which is the current folder.
    """
    paths = json.dumps([path for path in sys.path if path])
    return [sys.executable, "-I", "-c", _START.format(module=module), paths]
