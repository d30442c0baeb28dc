"""docs/options.md is what the program says of itself."""
import json
import re
import subprocess
import sys

import pytest

from conftest import BINARY, ROOT

sys.path.insert(0, str(ROOT / "tools"))
import options_page  # noqa: E402


def test_the_page_is_up_to_date():
    assert options_page.PAGE.read_text() == options_page.page(BINARY), "run tools/options_page.py"


@pytest.mark.parametrize("how", ["config", "environment"])
def test_every_name_on_the_page_is_known(how, tmp_path):
    """A value that no setting takes is refused under the setting's name, so the name was read."""
    rows = re.findall(r"^\| `--([a-z-]+) .*?\| `(\w+)` \| `(LATENTD_\w+)` \|",
                      options_page.PAGE.read_text(), re.MULTILINE)
    assert len(rows) > 30
    takes_any = {"model", "served-model-name", "host"}
    for name, key, variable in rows:
        if name in takes_any:
            continue
        (tmp_path / "c.json").write_text(json.dumps({key: "?"} if how == "config" else {}))
        environment = {variable: "?"} if how == "environment" else {}
        run = subprocess.run([BINARY, "serve", "--config", tmp_path / "c.json"], text=True,
                             capture_output=True, env=environment)
        assert run.returncode != 0 and (key in run.stderr or variable in run.stderr), run.stderr
