"""The site's files agree with the catalogs, whatever stands in a record is text, and a folder is whole or not there."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
import yaml
from site_helpers import pages, read, run
from zoo_site.build import Site, build_site
from zoo_site.results import DATASET, paper_results

from zoo.catalog.files import Catalog, CatalogFile
from zoo.catalog.records import WeightRecord
from zoo.errors import InputError
from zoo.inference.show import COLOURS

PAPER = Path(__file__).parents[3] / "tests" / "paper" / "tables.yaml"
HOSTILE = "<script>alert(1)</script>\"'&"


def test_csv_has_the_figures_of_every_record(site: Site, records: dict[str, WeightRecord]) -> None:
    rows = {row["name"]: row for row in csv.DictReader(io.StringIO(site.files["results.csv"].decode()))}
    assert rows.keys() == records.keys()
    assert len(rows) >= 9
    for name, record in records.items():
        row = rows[name]
        assert {key: float(row[key]) for key in record.metrics} == record.metrics
        counted = record.figures.model_dump()
        assert {key: int(row[key]) for key in counted} == counted
        activity = record.activity
        assert activity is not None
        assert float(row["measured_energy_uj"]) == activity.energy_uj
        assert int(row["measured_acs"]) == activity.acs
        assert row["measured_spike_rate"] == ("" if activity.spike_rate is None else repr(activity.spike_rate))
        assert (row["sha256"], row["license"], int(row["size"])) == (record.sha256, record.license, record.size)


def test_json_has_the_whole_record(site: Site, records: dict[str, WeightRecord]) -> None:
    listed = json.loads(site.files["results.json"])["weights"]
    assert [weight["name"] for weight in listed] == list(records)
    for weight in listed:
        record = records[weight["name"]]
        assert {key: weight[key] for key in type(record).model_fields if key != "control"} == {
            key: value for key, value in record.model_dump(mode="json").items() if key != "control"
        }


def test_colours_are_those_of_the_pictures(site: Site) -> None:
    light = site.files["static/site.css"].decode().partition("}")[0]
    for family, colour in COLOURS.items():
        assert f"--{family}: {colour};" in light


def test_a_hybrid_names_its_control(site: Site) -> None:
    weights = json.loads(site.files["results.json"])["weights"]
    controls = {weight["name"]: weight["control"] for weight in weights}
    assert controls["has8_resnet_b8_m2_d4_ste_bpd.cifar10"] == "ann_resnet_b8_m2_d4.cifar10"  # by its blocks
    assert controls["has8_vgg_b16_m2_d4_ste_bpd.cifar10"] == "ann_vgg_b16_m2_d4.cifar10"  # by its record
    assert controls["ann_resnet18.cifar10"] == ""


@pytest.mark.skipif(not PAPER.is_file(), reason="the paper's tables are in the zoo's repository")
def test_the_papers_figures_are_those_of_its_tables() -> None:
    tables = yaml.safe_load(PAPER.read_text(encoding="utf-8"))
    main = {mark.name.removesuffix("_fourier_bpd"): mark.top1 for mark in paper_results() if mark.main}
    assert main == {name: columns[0] for name, columns in tables["table2_top1"].items()}
    by_name = {mark.name: mark for mark in paper_results()}
    first = tables["table1_cifar10"]["has8_resnet_b32_m2_d4"]
    assert by_name["has8_resnet_b32_m2_d4_tanhraw_rate"].top1 == first["unscaled"]["rate"]["tanh"]
    assert by_name["has8_resnet_b32_m2_d4_fourier_bpd"].top1 == first["scaled"]["bpd"]["fourier"]
    assert len(by_name) == len(paper_results()) == 24 + 4 + 4  # table 1, and four networks of table 2 alone
    assert by_name["has8_resnet_b32_m2_d4_fourier_bpd"].params == 5632522


def test_the_pages_are_well_formed_and_every_link_leads_somewhere(site: Site, records: dict[str, WeightRecord]) -> None:
    read_pages = pages(site)
    assert read_pages.keys() == {"index.html", *(f"weights/{name}.html" for name in records)}
    for path, reader in read_pages.items():
        assert len(reader.ids) == len(set(reader.ids)), path
        for link in reader.links:
            if link.startswith("https://"):  # a link to read on, which a page never loads
                assert b'<a href="' + link.encode() in site.files[path]
                continue
            target, _, fragment = link.partition("#")
            folder = path.rpartition("/")[0]
            full = str(Path(folder, target)).replace("weights/../", "") if target else path
            assert full in site.files, (path, link)
            assert not fragment or fragment in read_pages[full].ids


def test_a_weights_page_has_its_card_licence_hash_and_snippet(site: Site, records: dict[str, WeightRecord]) -> None:
    for name, record in records.items():
        text = read(site.files[f"weights/{name}.html"]).text
        assert "pip install ." in text  # from a clone: nothing is on an index, where a stranger could claim the name
        assert "pip install has8-zoo" not in text
        for said in (record.sha256, record.license, f'zoo.create_model("{name}")', f"{record.size:,} bytes"):
            assert said in text
        assert f"{record.metrics['top1']:.2f} %" in text
        assert record.dataset_attribution in text


def test_the_site_is_small_and_always_the_same(site: Site, all_weights: Catalog) -> None:
    assert site.size < 5_000_000
    assert build_site(all_weights, rates=False).files == site.files


def test_a_strangers_text_stays_text(records: dict[str, WeightRecord]) -> None:
    record = next(iter(records.values()))
    changed = record.model_copy(
        update={"dataset": HOSTILE, "license": HOSTILE, "recipe": HOSTILE, "limits": HOSTILE, "dataset_note": HOSTILE}
    )
    site = build_site(Catalog([(CatalogFile(version=1, weights=(changed,)), HOSTILE)]), rates=False)
    for path, content in site.files.items():
        if path.endswith(".html"):
            assert b"<script>alert" not in content
    assert HOSTILE in read(site.files[f"weights/{record.name}.html"]).text


def test_a_weight_whose_plugin_is_missing_is_told_and_left_out(records: dict[str, WeightRecord]) -> None:
    record = records["has8_resnet_b8_m2_d4_ste_bpd.cifar10"]
    name = "has8_resnet_b8_m2_d4_nowhere_bpd"
    stranger = record.model_copy(update={"variant": name, "spec": {**record.spec, "name": name}})
    site = build_site(Catalog([(CatalogFile(version=1, weights=(record, stranger)), "x")]), rates=False)
    assert list(site.left_out) == [f"{name}.cifar10"]
    assert "unknown encoder 'nowhere'" in read(site.files["index.html"]).text
    assert f"weights/{record.name}.html" in site.files


def test_the_command_writes_a_folder_once(tmp_path: Path) -> None:
    out = tmp_path / "out"
    [row] = [json.loads(line) for line in run("site", "--out", out, "--json").stdout.splitlines()]
    assert row["bytes"] == sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    page = read((out / "weights" / "has8_resnet_b8_m2_d4_ste_bpd.cifar10.html").read_bytes()).text
    weights = {weight["name"]: weight for weight in json.loads((out / "results.json").read_bytes())["weights"]}
    rates = weights["has8_resnet_b8_m2_d4_ste_bpd.cifar10"]["layer_spike_rates"]
    assert len(rates) > 20
    assert all(0 <= rate <= 1 and f"{rate:.6f}" in page for rate in rates.values())
    assert weights["ann_resnet_b8_m2_d4.cifar10"]["layer_spike_rates"] == {}
    again = run("site", "--out", out)
    assert again.exit_code == 2
    assert "is not empty" in again.stderr


def test_a_catalog_without_weights_has_no_site() -> None:
    with pytest.raises(InputError, match="zoo list --pretrained"):
        build_site(Catalog([(CatalogFile(version=1), "x")]))


def test_the_dataset_of_the_paper_is_the_weights(records: dict[str, WeightRecord]) -> None:
    assert DATASET in {record.dataset for record in records.values()}
