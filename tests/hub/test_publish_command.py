"""`zoo publish`: a checkpoint, a whole catalog, a folder, and every way to ask for it wrongly."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

import zoo
from tests.hub.hub_weights import LABELS, TINY, files_below, tiny, tiny_folder
from tests.hub.loopback import LoopbackHub
from zoo.catalog.catalog import read_file
from zoo.cli import app
from zoo.errors import UnpinnedWarning

pytestmark = pytest.mark.usefixtures("removed_locks")

MADE = f"{TINY}.mine"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default catalog is registry.yaml where one stands."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """The tiny weight as a file of its own."""
    file = tmp_path / "tiny.safetensors"
    file.write_bytes(tiny()[1])
    return file


@pytest.fixture
def two(tmp_path: Path, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A registry.yaml of two weights that lie in a package, and a token that may write; their names."""
    package = tmp_path / "packages" / f"weights_{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:12]}"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    records = []
    for tag in ("one", "two"):
        weight, data = tiny(tag)
        (package / f"{tag}.safetensors").write_bytes(data)
        source = f"package:{package.name}/{tag}.safetensors"
        records.append(weight.model_dump(mode="json", exclude_none=True) | {"source": source})
    Path("registry.yaml").write_text(yaml.safe_dump({"version": 1, "weights": records}), encoding="utf-8")
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setenv("HF_TOKEN", hub.add_token("alice", "write"))
    return [f"{TINY}.one", f"{TINY}.two"]


def run(*arguments: str | Path, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["publish", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def rows(result: Result) -> list[dict]:
    return [json.loads(line) for line in result.stdout.splitlines()]


STATED = ["--license", "MIT", "--labels", ",".join(LABELS), "--image-size", "8", "--dataset", "Noise"]


def test_a_checkpoint_of_ones_own(hub: LoopbackHub, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.add_token("alice", "write"))
    more = ["--metric", "top1=33.5", "--recipe", "by hand", "--repo-id", "alice/mine", "--json"]
    [row] = rows(run(MADE, "--checkpoint", checkpoint, *STATED, *more))
    assert row["state"] == "published"
    model = zoo.create_model(row["load"])
    assert (str(model.spec), model.pretrained_cfg["label_names"]) == (MADE, list(LABELS))
    card = hub.files("alice/mine")["README.md"].decode()
    assert "| Top-1 accuracy | 33.50 % |" in card
    assert "Recipe `by hand`" in card
    [record] = read_file(Path("registry.yaml")).weights
    assert f"{record.source}@{record.revision}" == row["load"]


@pytest.mark.parametrize(
    ("catalog", "said"), [("registry.yaml", "lists other bytes as"), ("none/registry.yaml", "there is no folder none")]
)
def test_what_cannot_be_pinned_is_not_sent(
    hub: LoopbackHub, checkpoint: Path, monkeypatch: pytest.MonkeyPatch, catalog: str, said: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", hub.add_token("alice", "write"))
    order: tuple[str | Path, ...] = (MADE, "--checkpoint", checkpoint, *STATED)
    run(*order, "--repo-id", "alice/first")
    text = Path("registry.yaml").read_text(encoding="utf-8")
    digest = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    Path("registry.yaml").write_text(text.replace(digest, "a" * 64), encoding="utf-8")
    result = run(*order, "--repo-id", "alice/second", "--catalog", catalog, code=2)
    assert said in " ".join(result.stderr.split())
    assert "alice/second" not in hub.repositories


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        (["top1=inf"], "metrics.top1 inf: Input should be a finite number"),
        (["top1=nan"], "metrics.top1 nan: Input should be a finite number"),
        (["top1=810"], "metrics: top1=810 is out of range; valid: 0 to 100, in percent"),
        (["top5=-3"], "metrics: top5=-3 is out of range; valid: 0 to 100, in percent"),
        (["loss=-0.5"], "metrics: loss=-0.5 is out of range; valid: 0 or more"),
        (["top1=33", "top1=34"], "--metric top1 is stated twice"),
        (["top1=much"], "is not of the form top1=81.6"),
    ],
)
def test_figures_that_cannot_be(checkpoint: Path, metrics: list[str], said: str) -> None:
    stated = [part for metric in metrics for part in ("--metric", metric)]
    result = run(MADE, "--checkpoint", checkpoint, *STATED, *stated, "--to-dir", "out", code=2)
    assert said in " ".join(result.stderr.replace("│", " ").split())
    assert list(Path().iterdir()) == []


def test_a_loss_may_be_over_100(checkpoint: Path) -> None:
    figures = ["--metric", "loss=123.5", "--metric", "top1=100", "--metric", "top5=0"]
    run(MADE, "--checkpoint", checkpoint, *STATED, *figures, "--to-dir", "out")
    weight = json.loads(Path("out/config.json").read_text(encoding="utf-8"))["zoo"]["weight"]
    assert weight["metrics"] == {"loss": 123.5, "top1": 100.0, "top5": 0.0}


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ("labels.txt", "--labels labels.txt: there is no such file; give one with a name a line, or names as in a,b,c"),
        ("some/labels", "there is no such file"),
        ("ant,,cow", "--labels ant,,cow: name 2 is empty; every class needs one"),
        ("ant,bee,", "name 3 is empty"),
        ("latin.txt", "--labels latin.txt cannot be read as UTF-8, one name a line"),
        ("ant", "has 3 classes, but 1 labels were given"),
    ],
)
def test_labels_that_are_none(checkpoint: Path, tmp_path: Path, labels: str, said: str) -> None:
    Path("latin.txt").write_bytes(b"f\xfcnf")
    stated = [labels if each == ",".join(LABELS) else each for each in STATED]
    result = run(MADE, "--checkpoint", checkpoint, *stated, "--to-dir", "out", code=2)
    assert said in result.stderr
    assert not Path("out").exists()


@pytest.mark.parametrize("missing", ["--license", "--labels", "--image-size", "--dataset"])
def test_what_only_the_owner_knows_is_asked_for(checkpoint: Path, missing: str) -> None:
    place = STATED.index(missing)
    stated = STATED[:place] + STATED[place + 2 :]
    result = run(MADE, "--checkpoint", checkpoint, *stated, "--to-dir", "out", code=2)
    assert f"--checkpoint needs {missing}" in " ".join(result.stderr.split())
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    "option", [("--labels", "x,y,z"), ("--image-size", "9"), ("--metric", "top1=99"), ("--recipe", "by hand")]
)
def test_what_the_record_of_a_folder_says_is_not_stated_again(tmp_path: Path, option: tuple[str, str]) -> None:
    folder = tmp_path / "folder"
    tiny_folder("local-dir:folder").write(folder)
    result = run(folder, *option, "--license", "BSD-3-Clause", "--to-dir", "out", code=2)
    assert f"{option[0]}: the config.json of {folder} records that" in " ".join(result.stderr.split())
    assert "--license" not in result.stderr
    assert list(Path().iterdir()) == []
    told = ["--dataset", "Other noise", "--dataset-id", "bob/noise", "--dataset-license", "CC0-1.0"]
    run(folder, "--license", "BSD-3-Clause", *told, "--dataset-attribution", "Bob", "--to-dir", "out")
    weight = json.loads(Path("out/config.json").read_text(encoding="utf-8"))["zoo"]["weight"]
    assert weight["license"] == "BSD-3-Clause"
    assert [weight[f"dataset{key}"] for key in ("", "_id", "_license", "_attribution")] == [*told[1::2], "Bob"]


@pytest.mark.parametrize(
    "option",
    [
        ("--license", "GPL-3.0"),
        ("--dataset-attribution", "Bob"),
        ("--labels", "x,y,z"),
        ("--image-size", "9"),
        ("--recipe", "by hand"),
        ("--metric", "top1=99"),
    ],
)
def test_a_weight_of_a_catalog_is_published_with_its_record(two: list[str], option: tuple[str, str]) -> None:
    for order in ((two[0], "--to-dir", "out"), ("--all", "--namespace", "alice")):
        result = run(*order, *option, code=2)
        said = " ".join(result.stderr.split())
        assert said.startswith(f"error: {option[0]}: ")
        assert "record" in said
        assert "--checkpoint FILE" in said
    assert [path.name for path in Path().iterdir()] == ["registry.yaml"]


@pytest.mark.parametrize("option", ["--license", "--dataset", "--dataset-id", "--dataset-license", "--recipe"])
def test_an_empty_option_is_not_taken_for_one_left_out(tmp_path: Path, option: str) -> None:
    tiny_folder("local-dir:folder").write(tmp_path / "folder")
    result = run(tmp_path / "folder", option, " ", "--to-dir", "out", code=2)
    assert result.stderr == f"error: {option} is empty; write it out, or leave the option out\n"
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "name a weight"),
        ((MADE,), "say where it goes"),
        ((MADE, "--namespace", "alice"), "--namespace goes with --all"),
        (("--all",), "--all needs --namespace"),
        (("--all", MADE, "--namespace", "alice"), "--all takes --namespace and no NAME"),
        (("--all", "--namespace", "alice"), "registry.yaml cannot be read"),
        ((f"{TINY}.none", "--to-dir", "out"), "has no pretrained weights"),
        (("local-dir:none", "--to-dir", "out"), "cannot be read (No such file or directory)"),
        (("has8_resnet_b8_m2_d4_ste_bpd", "--repo-id", "none"), "is not a repository of the Hub"),
    ],
)
def test_wrong_orders(hub: LoopbackHub, arguments: tuple[str, ...], words: str) -> None:
    result = run(*arguments, code=2)
    assert words in " ".join(result.stderr.replace("│", " ").split())
    assert list(Path().iterdir()) == []
    assert hub.requests == []


def test_without_a_token_nothing_is_written(hub: LoopbackHub, two: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    before = files_below(Path())
    result = run(two[0], "--repo-id", "alice/one", code=2)
    assert "no token; log in with `hf auth login`, or set HF_TOKEN" in " ".join(result.stderr.split())
    assert hub.repositories == {}
    assert files_below(Path()) == before


@pytest.mark.slow
def test_a_whole_catalog_goes_on_after_a_failure(hub: LoopbackHub, two: list[str]) -> None:
    first, second = two
    hub.fail(500, match=f"/api/models/alice/{first}/commit/")
    result = run("--all", "--namespace", "alice", code=1)
    assert f"{first}: failed: alice/{first}: {hub.endpoint} answered 500" in result.stdout
    assert f"{second}: published" in result.stdout
    assert "2 weights; what failed can be sent again by the same command" in result.stdout
    assert [len(hub.commits(f"alice/{name}")) for name in two] == [1, 2]
    assert [bool(record.published) for record in read_file(Path("registry.yaml")).weights] == [False, True]
    again = rows(run("--all", "--namespace", "alice", "--json"))
    assert [row["state"] for row in again] == ["published", "unchanged"]
    assert [len(hub.commits(f"alice/{name}")) for name in two] == [2, 2]
    assert [record.published for record in read_file(Path("registry.yaml")).weights] == [row["load"] for row in again]
    with pytest.warns(UnpinnedWarning):
        assert str(zoo.create_model(f"hf-hub:alice/{second}").spec) == second


def test_a_dry_run_sends_nothing_and_pins_nothing(hub: LoopbackHub, two: list[str]) -> None:
    before = Path("registry.yaml").read_bytes()
    result = run(two[0], "--repo-id", "alice/one", "--dry-run", "--json")
    [row] = rows(result)
    assert (row["state"], row["folder"]) == ("written", two[0])
    assert set(files_below(Path(two[0]))) == set(row["files"])
    assert "hf-hub:alice/one" in (Path(two[0]) / "README.md").read_text(encoding="utf-8")
    assert Path("registry.yaml").read_bytes() == before
    assert hub.requests == []
    assert str(zoo.create_model(row["load"]).spec) == two[0]


def test_a_pin_that_cannot_be_written_is_said_and_written_later(
    hub: LoopbackHub, two: list[str], tmp_path: Path
) -> None:
    folder, catalog = tmp_path / "folder", tmp_path / "broken.yaml"
    tiny_folder("local-dir:folder", "one").write(folder)
    catalog.write_text("version: 2\n", encoding="utf-8")
    order = (f"local-dir:{folder}", "--repo-id", "alice/one", "--catalog", catalog)
    result = run(*order, code=2)
    assert "does not follow the schema" in " ".join(result.stderr.split())
    assert catalog.read_text(encoding="utf-8") == "version: 2\n"
    catalog.unlink()
    [row] = rows(run(*order, "--json"))
    assert str(read_file(catalog).weights[0].location) == row["load"]
