"""Ctrl-C, a real one in a real process: one sentence and exit code 130, however early it comes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from small_clip import true_masks

SENTENCE = "Interrupted. What was finished is kept.\n"
# A process that was started in the background of a script ignores Ctrl-C, and so would its children.
HEEDED = "import os, signal, sys, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
RUN = "from napari_appearrefine.cli import main\nmain()\n"


def start(code: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HEEDED + code + RUN, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


@pytest.mark.parametrize("module", ["typer", "numpy", "av.container.core", "napari_appearrefine.cli.app"])
def test_while_the_program_is_still_loading(module: str, video: Path) -> None:
    code = (
        "class PressedOn:\n"
        "    def find_spec(self, name, path, target=None):\n"
        f"        if name == {module!r}:\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, PressedOn())\n"
    )
    process = start(code, "flow-masks", video, "-o", video.parent / "out")
    assert process.communicate(timeout=60) == ("", SENTENCE)
    assert process.returncode == 130


def test_where_it_comes_out_as_another_error(video: Path, masks: Path, tmp_path: Path) -> None:
    """As it does where a compiled library is at work and reports a failure of its own."""
    code = (
        "from napari_appearrefine.engine import refinement\n"
        "def load(parameters):\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        time.sleep(5)\n"
        "    except KeyboardInterrupt:\n"
        "        raise ValueError('could not determine the shape') from None\n"
        "refinement.load_model = load\n"
    )
    process = start(code, "refine", video, "--masks", masks, "-o", tmp_path / "out")
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.endswith(SENTENCE)
    assert "Traceback" not in stderr


def test_finished_frames_are_kept(video: Path, masks: Path, tmp_path: Path) -> None:
    code = (
        "from napari_appearrefine.engine import refinement\n"
        "from small_clip import UnchangedModel\n"
        "class Slow(UnchangedModel):\n"
        "    def correct(self, *arguments):\n"
        "        for result in super().correct(*arguments):\n"
        "            yield result\n"
        "            time.sleep(5)\n"
        "refinement.load_model = lambda parameters: Slow()\n"
    )
    out = tmp_path / "out"
    process = start(code, "refine", video, "--masks", masks, "-o", out)
    deadline = time.monotonic() + 60
    while not (out / "00000.png").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130, stderr
    assert stderr.endswith(SENTENCE)
    assert "Traceback" not in stderr
    assert [file.name for file in sorted(out.iterdir())] == ["00000.png"]
    np.testing.assert_array_equal(np.asarray(Image.open(out / "00000.png")), true_masks()[0])


def test_where_it_is_ignored_it_stays_so(tmp_path: Path) -> None:
    code = "signal.signal(signal.SIGINT, signal.SIG_IGN)\nimport threading\n"
    code += "threading.Timer(0.0, os.kill, (os.getpid(), signal.SIGINT)).start()\n"
    process = start(code, "--version")
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (0, "")
    assert stdout.startswith("napari-appearrefine")
