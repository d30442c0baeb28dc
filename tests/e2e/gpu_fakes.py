"""Programs that play those of a machine with a GPU: scripts that note each call and answer as the test says."""
import json
import os
import subprocess
import sys

from conftest import ROOT

DEVICE = {"name": "NVIDIA H200", "driver": 13000, "runtime": 13000}


class Machine:
    """A folder of played programs and the state of the runs over it."""

    def __init__(self, folder):
        self.folder = folder
        self.bin = folder / "bin"
        self.tools = folder / "tools"
        self.calls = folder / "calls"
        for made in (self.bin, self.tools):
            made.mkdir()
        self.calls.write_text("")

    def play(self, name, body, folder=None):
        """A program: `body` is Python that sees the arguments as `argv`."""
        path = (folder or self.bin) / name
        path.write_text(f"#!{sys.executable}\nimport json, os, pathlib, sys\nargv = sys.argv[1:]\n"
                        f"with open({str(self.calls)!r}, 'a') as calls:\n"
                        f"    calls.write(' '.join([{name!r}, *argv]) + chr(10))\n{body}\n")
        path.chmod(0o755)
        return path

    def play_device(self, rows=None):
        """latentd_gpu_bench: a device, and rows {name: report}."""
        self.play("latentd_gpu_bench", f"""
rows = {rows or {}!r}
if argv == ["--describe"]: print(json.dumps({DEVICE!r}))
elif argv == ["--list"]: print(chr(10).join(rows))
elif argv == ["--ceilings"]: print(json.dumps(dict(ceilings=dict(copy_bytes_per_second=4e12))))
elif argv[0] == "--row": print(json.dumps(rows[argv[1]]))
""")

    def run(self, script, *arguments):
        return self.start(ROOT / script, "--binaries", self.bin, *arguments)

    def start(self, script, *arguments, **environment):
        self.calls.write_text("")
        environment = {**os.environ, "PATH": f"{self.tools}:/usr/bin:/bin", "CUDA_HOME": str(self.tools), **environment}
        return subprocess.run([script, "--out", self.folder / "out", "--state", self.folder / "state.json",
                               *map(str, arguments)], text=True, capture_output=True, check=False, env=environment)

    def called(self):
        return self.calls.read_text().splitlines()

    def result(self, name):
        return json.loads((self.folder / "out" / f"{name}.json").read_text())
