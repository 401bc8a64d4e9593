"""Starts commands in forks of a process that has imported all, so that every moment is one of their work.

A command can be killed after a time, before its n-th call that Python's audit hooks see, or (by strace, where
that works) before its n-th system call that changes files.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

AUDITED = {
    "open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.symlink", "os.truncate",
    "os.chmod",
    "os.utime", "fcntl.flock", "shutil.rmtree", "shutil.copyfile", "tempfile.mkstemp", "tempfile.mkdtemp",
}  # fmt: skip
SYSTEM_CALLS = (
    "write,pwrite64,openat,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,fsync,ftruncate,"
    "link,linkat,symlink,flock,fchmod,chmod,sendfile,copy_file_range"
)


class Starter:
    """The process that forks; `modules` are imported before. Close it at the end."""

    def __init__(self, program: str, modules: list[str], folder: Path) -> None:
        """program: "module:function" that takes a list of arguments and returns an exit status."""
        self.log, self.traced = folder / "output.txt", folder / "strace.txt"
        self.temporary = folder / "tmp"  # TMPDIR of the commands
        self.temporary.mkdir(parents=True, exist_ok=True)
        environment = {**os.environ, "TMPDIR": str(self.temporary), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, __file__, program, str(self.log), *modules],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        self.strace = self._traces()

    def _traces(self) -> bool:
        """Whether strace can kill a process at a system call here."""
        if shutil.which("strace") is None:
            return False
        command = ["strace", "-o", "/dev/null", "-e", "inject=write:signal=KILL:when=1", "echo", "x"]
        return subprocess.run(command, capture_output=True).returncode in (-signal.SIGKILL, 137)

    def run(self, arguments, folder: Path, *, kill=None) -> int:
        """Run a command in `folder`; kill: ("moment", seconds), ("call", n) or ("system call", n).

        Returns the exit status, negative for a signal.
        """
        how, when = kill or ("", 0)
        request = {"arguments": [str(one) for one in arguments], "folder": str(folder)}
        request |= {"call": when if how == "call" else 0, "stopped": how == "system call"}
        process = self._ask(json.dumps(request))
        tracer = self._trace(process, when) if how == "system call" else None
        if how == "moment":
            time.sleep(when)
            os.kill(process, signal.SIGKILL)
        status = self._ask("")
        if tracer is not None:
            tracer.wait()
        return status

    def calls(self) -> int:
        """The audited calls of the last command that ended by itself."""
        return int(self.log.with_suffix(".calls").read_text())

    def system_calls(self) -> int:
        """The system calls of the last command that was traced."""
        return sum("(" in line for line in self.traced.read_text(errors="replace").splitlines())

    def _trace(self, process: int, when: int):
        """Trace a process that waits to be traced; when 0: no kill."""
        command = ["strace", "-f", "-p", str(process), "-o", str(self.traced), "-e", f"trace={SYSTEM_CALLS}"]
        if when:
            command += ["-e", f"inject={SYSTEM_CALLS}:signal=KILL:when={when}"]
        while Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "Tt":
            time.sleep(0.001)
        tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        tracer.stderr.readline()  # "attached"
        os.kill(process, signal.SIGCONT)
        return tracer

    def _ask(self, line: str) -> int:
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the starter of commands ended: {self.log}")
        return int(answer)

    def output(self) -> str:
        """What the last command said."""
        return self.log.read_text(errors="replace")

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def _child(main, request, log: Path) -> None:
    """The command itself; does not return."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(request["folder"])
    calls = 0

    def count(event, _):
        nonlocal calls
        if event in AUDITED:
            calls += 1
            if calls == request["call"]:
                os.kill(os.getpid(), signal.SIGKILL)

    if request["stopped"]:
        os.kill(os.getpid(), signal.SIGSTOP)
    sys.addaudithook(count)
    status = main(request["arguments"])
    made = calls
    log.with_suffix(".calls").write_text(str(made))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _serve(program: str, log: str, *modules: str) -> None:
    import importlib

    for module in modules:
        importlib.import_module(module)
    module, _, name = program.partition(":")
    main = getattr(importlib.import_module(module), name)
    while line := sys.stdin.readline():
        if not (process := os.fork()):
            code = 70
            try:
                _child(main, json.loads(line), Path(log))
            except SystemExit as error:
                code = error.code if isinstance(error.code, int) else 1
            except BaseException:
                import traceback

                traceback.print_exc()
            finally:
                os._exit(code)
        print(process, flush=True)
        sys.stdin.readline()  # its number stays its own up to here, even if it has ended
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)


if __name__ == "__main__":
    _serve(*sys.argv[1:])
