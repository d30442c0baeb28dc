"""deploy/: the unit and its settings fit each other, and its command line works."""
import configparser
import json
import pathlib
import shutil
import signal
import subprocess

import pytest

from conftest import BINARY, DEMO, ROOT

UNIT = ROOT / "deploy/latentd.service"
SETTINGS = ROOT / "deploy/latentd.json"


def service():
    """The [Service] section; of a key given twice, the last value."""
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str
    parser.read(UNIT)
    return parser["Service"]


def installed(tmp_path):
    """ExecStart with the program and the settings of this checkout, and the demo for a model."""
    command = service()["ExecStart"].split()
    assert command[0] == "/usr/local/bin/latentd"
    settings = {**json.loads(SETTINGS.read_text()), "model": str(DEMO), "http": "127.0.0.1:0",
                "grpc": "127.0.0.1:0"}
    (tmp_path / "latentd.json").write_text(json.dumps(settings))
    at = command.index("--config") + 1
    assert command[at] == "/etc/latentd/latentd.json"
    command[0], command[at] = BINARY, str(tmp_path / "latentd.json")
    return command


def test_the_start_command_serves_and_drains(tmp_path):
    process = subprocess.Popen(installed(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True)
    ready = process.stdout.readline()
    process.send_signal(getattr(signal, service()["KillSignal"]))
    _, log = process.communicate()
    assert ready.startswith("ready http=127.0.0.1:"), log
    assert process.returncode == 0
    for line in log.splitlines():
        json.loads(line)  # log_format json


def test_the_stop_time_leaves_room_for_the_drain():
    drain = json.loads(SETTINGS.read_text())["drain_timeout"]
    assert int(service()["TimeoutStopSec"]) >= drain + 10


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_takes_the_unit(tmp_path):
    unit = tmp_path / "latentd.service"
    unit.write_text(UNIT.read_text().replace("/usr/local/bin/latentd", str(pathlib.Path(BINARY).resolve())))
    verify = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], text=True,
                            capture_output=True)
    assert (verify.returncode, verify.stdout, verify.stderr) == (0, "", "")
