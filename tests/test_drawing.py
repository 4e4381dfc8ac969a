"""Settings in the current folder change no figure."""

import os
import subprocess
import sys
from pathlib import Path

from tests.commands.helpers import ROOT
from tests.data import made_up


def test_a_style_in_the_current_folder_draws_nothing(tmp_path: Path) -> None:
    """With `text.usetex` matplotlib would start LaTeX, with a preamble of the file's choice."""
    (tmp_path / "matplotlibrc").write_text(
        "backend: module://handed_over\ntext.usetex: True\ntext.latex.preamble: \\input{x}\nfont.size: 99\n"
    )
    (tmp_path / "a.png").write_bytes(made_up.image_file(1, "PNG"))
    code = """
import pathlib, sys
def audit(event, arguments):
    assert event not in ("subprocess.Popen", "os.posix_spawn", "os.exec"), arguments
sys.addaudithook(audit)
from alexnet_jax.data.images import Preprocessing
from alexnet_jax.inference import predict
answer = {"file": sys.argv[1], "top5": [{"name": "$ant$", "probability": 0.5}]}
predict.draw([answer], Preprocessing(64, 3), pathlib.Path(sys.argv[2]))
import matplotlib
print(matplotlib.rcParams["font.size"])
"""
    made = []
    for number, folder in enumerate((tmp_path, ROOT)):
        figure = tmp_path / f"{number}.png"
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "a.png"), str(figure)],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.stdout.strip() == "10.0", done.stderr  # the file was not read: it may take all memory
        made.append(figure.read_bytes())
    assert made[0] == made[1]
