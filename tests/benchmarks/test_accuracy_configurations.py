"""What the accuracy benchmark trains: the paper's rows, the controls that they lack, networks of one's own."""

from __future__ import annotations

import pytest
import yaml

import zoo
from benchmarks.accuracy import configurations
from benchmarks.common import paper

TABLES = yaml.safe_load(paper.PAPER.read_text(encoding="utf-8"))
PARITY = "has8_resnetref_b32_m2_d4_fourierref_bpdref_lifref"


def test_table_1_is_the_ablation_with_the_papers_figures_and_the_missing_controls() -> None:
    found = {each.name: each for each in configurations.table1(TABLES, "cifar10", 1, 3)}
    ablation = {
        f"has8_{size}_{encoder}{raw}_{decoder}": TABLES["table1_cifar10"][f"has8_{size}"][half][decoder][encoder]
        for size in ("vgg_b16_m2_d4", "resnet_b32_m2_d4")
        for raw, half in (("", "scaled"), ("raw", "unscaled"))
        for decoder in ("rate", "bpd")
        for encoder in ("sigmoid", "tanh", "fourier")
    }
    assert len(ablation) == 24
    ablation |= {f"{name}_lif": figure for name, figure in ablation.items() if "raw" not in name}
    parity = {PARITY: 79.20, "has8_vggref_b16_m2_d4_fourierref_bpdref_lifref": 81.58}
    expected = ablation | parity | TABLES["table1_cifar10"]["baselines"]
    assert {name: each.paper for name, each in found.items() if each.paper is not None} == expected
    several = {name for name, each in found.items() if each.seeds == (3407, 3408, 3409)}
    assert several == {
        f"{name}{size}{coding}"
        for size in ("vgg_b16_m2_d4", "resnet_b32_m2_d4")
        for name, coding in (("has8_", "_ste_bpd"), ("snn_", "_ste_bpd"), ("ann_", ""))
    }
    assert {found[name].seeds for name in found.keys() - several} == {(3407,)}
    assert found.keys() - expected.keys() - several == {f"has8_{size}_ste_rate" for size in configurations.TABLE1_SIZES}
    assert found["has8_vgg_b16_m2_d4_tanhraw_rate"].paper_macs == 4.34e9
    without = {name for name in found if not name.endswith("_lif")}
    assert {each.name for each in configurations.table1(TABLES, "cifar10", 1, 3, ["if"])} == without


def test_a_network_of_ones_own_is_trained_too_and_names_are_repeated() -> None:
    found = configurations.table1(TABLES, "cifar10", 1, 1) + configurations.further(["ann_resnet_b16_m2_d4"], 1)
    repeated = configurations.repeat(found, ["*_tanh_bpd", "ann_resnet_b16*"], 2)
    assert [each.name for each in repeated] == [each.name for each in found]
    assert {each.name for each in repeated if len(each.seeds) == 2} == {
        *(f"has8_{size}_tanh_bpd" for size in configurations.TABLE1_SIZES),
        "ann_resnet_b16_m2_d4",
    }
    assert configurations.repeat(repeated, ["*"], 1) == repeated


def test_every_name_is_a_model_and_so_is_its_control() -> None:
    for found in (configurations.table1(TABLES, "cifar10", 1, 3), configurations.table2(TABLES, "cifar10", 1)):
        names = [each.name for each in found]
        assert len(set(names)) == len(names)
        for each in found:
            assert each.control is None or zoo.parse_name(each.control)
            assert (each.plugin is None) == ("ref_" not in each.name)
            assert each.plugin is not None or str(zoo.parse_name(each.name)) == each.name


@pytest.mark.parametrize("dataset", [*configurations.DATASETS, None])
def test_table_2_is_the_papers_column_of_that_data_set(dataset: str | None) -> None:
    found = configurations.table2(TABLES, dataset, 2)
    models = {each.name.removesuffix("_fourier_bpd"): each for each in found}
    assert models.keys() > TABLES["table2_top1"].keys()
    column = None if dataset is None else configurations.DATASETS.index(dataset)
    for name, each in models.items():
        row = TABLES["table2_top1"].get(name)
        assert each.paper == (row[column] if row and column is not None else None)
        assert each.seeds == (3407, 3408)
        assert each.control is None or each.control in models
    assert len(models) == len(TABLES["table2_top1"]) + 4  # the hybrids' controls


def test_table_1_has_no_figures_of_another_data_set() -> None:
    for dataset in ("cifar100", None):
        assert {each.paper for each in configurations.table1(TABLES, dataset, 1, 1)} == {None}


@pytest.mark.parametrize(
    ("data", "dataset"),
    [
        ("cifar10", "cifar10"),
        ("/data/CIFAR-10-jpeg/", "cifar10"),
        ("cifar100", "cifar100"),
        ("cifar1000", None),
        ("Caltech_256", "caltech256"),
        ("cifar10/mine", None),
    ],
)
def test_the_papers_data_set_is_read_off_the_datas_name(data: str, dataset: str | None) -> None:
    assert configurations.dataset_of(data) == dataset
