"""Training with a component that a notebook registered, and that no distribution holds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import zoo
from tests.data.made_data import folder
from zoo.errors import UnknownComponentError

IN_A_NOTEBOOK = """
import sys
import zoo
from zoo.encoders.bitplanes import BitPlaneEncoder, straight_through_planes
from zoo.errors import PublishError
from zoo.hub.publish import assemble
from zoo.catalog.sources import LocalFolder
from zoo.training import train

@zoo.register("encoder", "bright")
class Bright(BitPlaneEncoder):
    def forward(self, x):
        return straight_through_planes(x.clamp(min=1e-4).sqrt())

data, out = sys.argv[1:]
result = train("has8_resnet_b1_m1_d1_bright_bpd", data, out=out, changes={"epochs": 1, "batch_size": 8})
print(zoo.create_model(result.reference).spec, list(result.weight.providers))
try:
    assemble(result.weight.model_copy(update={"license": "MIT"}), LocalFolder(result.folder), result.reference)
except PublishError as error:
    print(error)
"""


@pytest.mark.slow
def test_a_component_of_a_notebook_trains_and_loads_and_is_not_published(tmp_path: Path) -> None:
    photos = folder(tmp_path / "photos", {"night": 10, "noon": 10})
    command = [sys.executable, "-c", IN_A_NOTEBOOK, str(photos), str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded, refused = done.stdout.splitlines()
    assert loaded == "has8_resnet_b1_m1_d1_bright_bpd.photos ['has8-zoo']"
    assert "nobody else has encoder 'bright', which this process registered" in refused
    with pytest.raises(UnknownComponentError, match=r"unknown encoder 'bright'.*\(zoo\.register\), register it here"):
        zoo.create_model(f"local-dir:{tmp_path / 'run'}")
