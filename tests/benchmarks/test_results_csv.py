"""results.csv: every weight of the repository, as its catalog states it."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import yaml

from benchmarks import results_csv
from benchmarks.common.reporting import RESULTS, ROOT

pytestmark = pytest.mark.skipif(
    not list(ROOT.glob("plugins/zoo-weights-*")), reason="a source distribution has no distributions of weights"
)


def test_the_kept_file_is_what_the_command_writes(tmp_path: Path) -> None:
    results_csv.main(tmp_path)
    kept, made = (folder / results_csv.FILE for folder in (RESULTS, tmp_path))
    assert kept.read_text(encoding="utf-8") == made.read_text(encoding="utf-8"), "python -m benchmarks.results_csv"


def test_every_weight_has_a_row_with_its_own_figures() -> None:
    rows = {row["name"]: row for row in csv.DictReader((RESULTS / results_csv.FILE).open(encoding="utf-8"))}
    files = [ROOT / "registry.yaml", *ROOT.glob("plugins/*/*/registry.yaml")]
    records = [record for file in files for record in yaml.safe_load(file.read_text(encoding="utf-8"))["weights"]]
    assert rows.keys() == {f"{record['variant']}.{record['tag']}" for record in records}
    for record in records:
        row = rows[f"{record['variant']}.{record['tag']}"]
        assert (row["sha256"], int(row["bytes"])) == (record["sha256"], record["size"])
        assert (int(row["macs"]), int(row["params"])) == (record["figures"]["macs"], record["figures"]["params"])
        assert float(row["top1"]) == record["metrics"]["top1"]
        assert row["control"] == record.get("control", "")
    assert rows["ann_resnet18.cifar10"]["distribution"] == "zoo-weights-cifar10-baselines"
    name = "has8_resnetsmall_b16_m2_d4_ste_bpd"
    activity = next(record["activity"] for record in records if record["variant"] == name)
    ratio = float(rows[f"{name}.cifar10"]["energy_ratio"])
    assert abs(ratio - activity["energy_uj"] / activity["control_energy_uj"]) < 1e-3
