"""The wheel, installed in an environment of its own: catalog, weight and photograph travel inside."""

from __future__ import annotations

import email
import hashlib
import json
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import zoo

ROOT = Path(__file__).parent.parent


def _run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    flags = ("--no-deps", "--no-build-isolation", "--quiet", "--wheel-dir", str(folder))
    _run(sys.executable, "-m", "pip", "wheel", *flags, ROOT, cwd=folder)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment that holds this wheel; its dependencies are the parent's, by a .pth."""
    folder = tmp_path_factory.mktemp("environment")
    _run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder)
    (site,) = folder.glob("lib/python*/site-packages")
    flags = ("--no-deps", "--quiet", "--no-compile", "--target", str(site))
    _run(sys.executable, "-m", "pip", "install", *flags, wheel, cwd=folder)
    parent = sysconfig.get_paths()["purelib"]
    (site / "zz_parent.pth").write_text(parent + "\n", encoding="utf-8")
    return folder


def test_the_wheel_holds_what_it_needs_and_no_more(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {"zoo/registry.yaml", "zoo/py.typed", "zoo/photographs/SOURCES.md"} <= set(names)
    assert any(name.startswith("zoo/pretrained/") and name.endswith(".safetensors") for name in names)
    assert all(name.startswith(("zoo/", "has8_zoo-")) for name in names)
    assert not any(name.endswith((".pt", ".npz", ".pyc")) for name in names)
    assert sum(info.file_size for info in zipfile.ZipFile(wheel).infolist()) < 12_000_000  # 9.4 MB of it are weights


def test_an_installed_zoo_classifies_its_photograph_offline(environment: Path, tmp_path: Path) -> None:
    python = environment / "bin" / "python"
    where = _run(python, "-c", "import zoo.catalog.catalog as c; print(c.catalog_path())", cwd=tmp_path).strip()
    assert where.startswith(str(environment))
    out = _run(python, "-m", "zoo", "predict", "--json", cwd=tmp_path)
    (line,) = out.strip().splitlines()
    assert "cat" in [each["label"] for each in json.loads(line)["predictions"]]
    listed = _run(python, "-m", "zoo", "list", "has8_*_ste_bpd", cwd=tmp_path).splitlines()
    assert "has8_resnet_b32_m2_d4_ste_bpd" in listed
    _run(python, "-m", "zoo", "site", "--no-rates", "--out", tmp_path / "site", cwd=tmp_path)
    assert (tmp_path / "site" / "index.html").is_file()


def _version(wheel: Path) -> str:
    with zipfile.ZipFile(wheel) as file:
        (metadata,) = (name for name in file.namelist() if name.endswith(".dist-info/METADATA"))
        return str(email.message_from_bytes(file.read(metadata))["Version"])


def test_the_wheel_takes_its_version_from_the_package(wheel: Path) -> None:
    assert _version(wheel) == zoo.__version__
    assert wheel.name.startswith(f"has8_zoo-{zoo.__version__}-")


def test_an_editable_install_takes_its_version_from_the_package(tmp_path: Path) -> None:
    build = "import sys; from hatchling.build import build_editable; build_editable(sys.argv[1])"
    _run(sys.executable, "-c", build, tmp_path, cwd=ROOT)
    (made,) = tmp_path.glob("*.whl")
    assert _version(made) == zoo.__version__


def test_the_version_is_written_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "version" not in project
    assert project["dynamic"] == ["version"]
    assert "version" not in yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))


def test_golden_files_are_stored_once() -> None:
    files = [*ROOT.glob("tests/paper/*"), *ROOT.glob("plugins/*/tests/data/*")]
    digests = {hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    assert len(digests) == len(files) > 0


def test_an_installed_zoo_names_the_install_that_brings_an_extra(environment: Path, tmp_path: Path) -> None:
    python = environment / "bin" / "python"
    code = (
        "from zoo.errors import install_extra as extra, install_plugin as plugin; print(extra('train'), plugin('x y'))"
    )
    assert _run(python, "-c", code, cwd=tmp_path).strip() == "pip install 'has8-zoo[train]' pip install 'x y'"
    (metadata,) = environment.glob("lib/python*/site-packages/has8_zoo-*.dist-info")
    written = metadata / "direct_url.json"  # as `pip install FOLDER` writes it
    kept = written.read_text(encoding="utf-8") if written.exists() else None
    written.write_text(json.dumps({"url": ROOT.as_uri(), "dir_info": {}}), encoding="utf-8")
    try:
        asked = _run(python, "-c", code.replace("x y", "zoo-gray"), cwd=tmp_path).strip()
        assert asked == f"pip install '.[train]' in {ROOT} pip install ./plugins/zoo-gray in {ROOT}"
        for damaged in ("{", "[]", '{"dir_info": {}}', '{"url": "file:///nowhere", "dir_info": {}}'):
            written.write_text(damaged, encoding="utf-8")
            assert _run(python, "-c", code, cwd=tmp_path).startswith("pip install 'has8-zoo[train]'")
    finally:
        if kept is None:
            written.unlink()
        else:
            written.write_text(kept, encoding="utf-8")
