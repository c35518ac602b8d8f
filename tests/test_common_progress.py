"""What a progress bar looks like in a terminal of 80 characters, and that it is silent without."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: A long training's second epoch, seen often enough that an estimate stands there.
CODE = """
import logging, time
from stages.common.entry import ErrorStream
from stages.common.progress import make_progress
from stages.train.loop import Epoch, describe_state
logging.basicConfig(format="%(message)s", handlers=[ErrorStream()])
history = [Epoch(1, 1e-3, 0.5, 0.4, 0.91234, 336.0)]
with make_progress() as progress:
    task = progress.add_task("train", total=15260, note="")
    for step in range(4):
        time.sleep(0.15)
        note = describe_state(336.4, history, 1)
        progress.update(task, advance=3000, description="epoch 2/3", note=note)
    logging.warning("a line of the log")
    time.sleep(0.15)
print("the closing line")
"""


def run_in_terminal(code: str) -> tuple[str, int]:
    """What a program writes to a terminal of 80 characters, and its exit status."""
    master, slave = pty.openpty()
    environment = {
        **{name: value for name, value in os.environ.items() if name != "NO_COLOR"},
        "COLUMNS": "80",
        "TERM": "xterm",
        "PYTHONPATH": str(ROOT),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=slave, stdout=slave, stderr=slave, env=environment
    )
    os.close(slave)
    written = b""
    while True:
        try:
            part = os.read(master, 4096)
        except OSError:  # how Linux says that the other end is closed
            break
        if not part:
            break
        written += part
    os.close(master)
    return written.decode(), process.wait(timeout=60)


def test_a_training_in_a_terminal() -> None:
    written, status = run_in_terminal(CODE)
    assert status == 0
    lines = [
        line for line in re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*\w", "", written)) if line
    ]
    bars = [line for line in lines if line.startswith("epoch 2/3")]
    assert bars
    assert all(len(line) <= 80 for line in bars), max(bars, key=len)
    assert re.fullmatch(
        r"epoch 2/3 .* 12000/15260 0:00:0\d left 0:00:0\d 336 img/s, best 0\.9123 \(epoch 1\)",
        bars[-1].rstrip(),
    ), bars[-1]
    assert "a line of the log" in lines  # alone on its line, not behind the bar
    assert lines[-1] == "the closing line"


def test_nobody_watches() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CODE],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stderr.splitlines() == ["a line of the log"]
    assert done.stdout.splitlines() == ["the closing line"]
