"""Commands and servers that end with whoever started them.

Each runs in a process group of its own, so that Ctrl-C at the terminal reaches this program
alone, which then ends them in order: they are asked first and given time to clean up, because
SAM removes its containers only when it is asked. Whatever a command started ends with it.
"""

import os
import signal
import subprocess
import time

# How a group is asked to end, and for how many seconds its answer is awaited.
GENTLY = ((signal.SIGTERM, 20), (signal.SIGKILL, 5))
# SAM takes SIGINT as a person's Ctrl-C and removes its container; by SIGTERM it ends on the spot.
LIKE_CTRL_C = ((signal.SIGINT, 20), *GENTLY)


class CommandError(Exception):
    """Why a command failed, in words for the person at the terminal."""


def start(command, **options):
    try:
        return subprocess.Popen([str(part) for part in command], start_new_session=True, **options)
    except FileNotFoundError:
        raise CommandError("{} is not installed or not on PATH".format(command[0])) from None
    except OSError as error:
        raise CommandError("{} cannot be started: {}".format(command[0], error.strerror)) from None


def run(command, ending=GENTLY, **options):
    """Runs a command to its end; its exit code, its output and its errors."""
    options.setdefault("stdin", subprocess.DEVNULL)
    process = start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", **options)
    try:
        output, errors = process.communicate()
    except BaseException:
        end(process, ending)
        raise
    return process.returncode, output, errors


def output_of(command, **options):
    """What a command writes, which must succeed."""
    code, output, errors = run(command, **options)
    if code != 0:
        said = (errors.strip() or output.strip())[-2000:]
        raise CommandError("{} failed ({}):\n{}".format(" ".join(map(str, command)), code, said))
    return output


def end(process, ending=GENTLY):
    """Ends a process and every other one of its group."""
    for kind, patience in ending:
        # The group outlives its first process as long as one of its children runs.
        try:
            os.killpg(process.pid, kind)
        except ProcessLookupError:
            break
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and group_lives(process):
            time.sleep(0.02)
    process.wait()


def group_lives(process):
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


class Server:
    """A server that ends with its `with` block."""

    def __init__(self, command, log, environment, is_up, patience=120):
        self.command, self.log, self.environment, self.is_up, self.patience = command, log, environment, is_up, patience

    def __enter__(self):
        with open(str(self.log), "wb") as log:
            self.process = start(
                self.command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        try:
            deadline = time.monotonic() + self.patience
            while not self.is_up():
                if self.process.poll() is not None or time.monotonic() > deadline:
                    said = self.log.read_text(errors="replace")[-2000:]
                    raise CommandError("{} did not start:\n{}".format(self.command[0], said))
                time.sleep(0.1)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        end(self.process)
