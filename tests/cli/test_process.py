"""The command as a process of its own: what it costs, prints and survives."""

import importlib.metadata
import re
import signal
import subprocess
import sys

import pytest
from command import NET, saved, table

from captum_erf import cli

pytest.importorskip("torchvision")

pytestmark = pytest.mark.usefixtures("workplace")


def test_main_job_on_a_real_network(tmp_path, capsys):
    assert cli.main(["resnet18", "--size", "64", "--num-samples", "4"]) == 0
    printed, progress = capsys.readouterr()
    assert "resnet18, weights: random (seed 0), not those of the trained network" in printed
    assert "4 crops of 64 x 64, at random places and scales, of matplotlib's grace_hopper.jpg" in printed
    rows = table(printed)
    assert rows["layer"] == [
        *("grid", "stride", "TRF", "ERF 50 %", "90 %", "95 %", "sigma", "R²", "ERF/TRF", "outside")
    ]
    assert {name: row[:3] for name, row in rows.items() if name != "layer"} == {
        "relu": ["32 x 32", "2", "7"],
        "layer1": ["16 x 16", "4", "43"],
        "layer2": ["8 x 8", "8", "99"],
        "layer3": ["4 x 4", "16", "211"],
        "layer4": ["2 x 2", "32", "435"],
    }
    assert re.fullmatch(r"\d+\.\d+ ± \d+\.\d+", rows["layer2"][3])
    assert rows["relu"][9] == "0.0 %"
    assert float(rows["layer4"][9].split()[0]) > 95
    assert "1/1" in progress
    names = [
        "erf.png",
        "layer1.npz",
        "layer2.npz",
        "layer3.npz",
        "layer4.npz",
        "relu.npz",
        "summary.csv",
        "summary.json",
    ]
    assert sorted(file.name for file in (tmp_path / "erf-resnet18").iterdir()) == names


@pytest.mark.parametrize("unbuffered", [[], ["-u"]], ids=["buffered", "unbuffered"])
def test_results_are_written_although_nobody_reads_the_table(unbuffered, tmp_path):
    command = [sys.executable, *unbuffered, "-m", "captum_erf", *NET, "--num-samples", "4", "--output", "results"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().startswith("cli_models:net")
        process.stdout.close()
        assert "rror" not in process.stderr.read()
    assert process.returncode == 0
    assert list(saved(tmp_path / "results")) == ["1.npz", "5.npz"]


def test_command_is_installed():
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name="captum-erf")
    assert entry.load() is cli.main


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--help"], 0, "usage: captum-erf"),
        (["--version"], 0, "captum-erf "),
        (["resnet18", "--seed", "x"], 2, "'x' is no whole number"),
        (["resnet18", "--data", "nowhere"], 2, "--data: the folder nowhere is not there"),
        (["./nowhere.py:net"], 2, "there is no file nowhere.py"),
        (["resnet18", "vgg11", "--weights", "none,cli_models.py"], 2, "say whose they are, MODEL=cli_models.py"),
    ],
)
def test_options_are_answered_without_torch(arguments, status, said):
    code = f"import sys; from captum_erf.cli import main; print(main({arguments}), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == f"{status} False"
    assert said in done.stdout + done.stderr


def test_a_line_is_printed_before_the_long_import():
    code = "import sys; from captum_erf.cli import main; sys.modules['captum_erf.cli.run'] = None; main(['resnet18'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.splitlines()[0] == "captum-erf: loading PyTorch"


def test_module_runs_as_a_command():
    done = subprocess.run([sys.executable, "-m", "captum_erf", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"captum-erf {importlib.metadata.version('captum-erf')}\n"


def as_in_the_foreground():
    """Shells let what they start in the background ignore Ctrl-C, the test's own process included."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize("moment", ["loading PyTorch", "ERF:"])
def test_ctrl_c_ends_the_command_in_one_line(moment, monkeypatch):
    monkeypatch.setenv("SLOW", "0.2")
    command = [sys.executable, "-u", "-m", "captum_erf", *NET, "--num-samples", "48", "--batch-size", "1"]
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes, preexec_fn=as_in_the_foreground) as process:
        said = ""
        while moment not in said:
            said += process.stderr.read(1)
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
    assert process.returncode == 130
    assert said.splitlines()[-1] == "captum-erf: interrupted"
    assert "Traceback" not in said


def test_warnings_name_the_options_of_the_command(capsys):
    """Channels behind a layer norm sum to the same."""
    assert cli.main(["cli_models:tokens", "--size", "16", "--layout", "tokens", "--layers", "4"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "Pass --channel random or an index, or choose the layer before it." in said


def test_warnings_have_lines_of_their_own(tmp_path):
    command = [sys.executable, "-m", "captum_erf", "cli_models:dead", "--size", "16", "--layers", "0", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0
    (line,) = [line for line in re.split("[\n\r]", done.stderr) if "Left out" in line]
    assert line.startswith("captum-erf: warning: Left out: All samples of layer '1' are dead")
