"""The files of the page that classifies in the browser, and the networks that it takes."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from site_helpers import packed, pages, put
from zoo_site.build import Site, build_site
from zoo_site.demo import MODULE, WASM, Demo, as_script, classic_script, make_demo
from zoo_site.npm import DownloadError

from zoo.catalog.files import Catalog, CatalogFile
from zoo.catalog.records import WeightRecord
from zoo.data.images import sample_photographs
from zoo.errors import InputError

HYBRID, CONTROL = "has8_resnet_b8_m2_d4_ste_bpd.cifar10", "ann_resnet_b8_m2_d4.cifar10"
POLICY = re.compile(r'http-equiv="Content-Security-Policy" content="([^"]*)"')


def test_the_page_says_what_it_is_and_loads_only_what_is_beside_it(demo_site: Site, stand_in: Demo) -> None:
    page = pages(demo_site)["demo.html"]
    assert "Nothing leaves your machine" in page.text
    assert all(label in page.text for label in stand_in.labels)
    assert set(page.links) >= {"demo/runtime.js", "demo/wasm.js", "demo/network.js", "demo/photograph.js"}
    for link in page.links:
        assert link.partition("#")[0] in {*demo_site.files, ""}, link


def test_only_this_page_may_run_webassembly_and_it_may_ask_no_host(demo_site: Site) -> None:
    for path, content in demo_site.files.items():
        if path.endswith(".html"):
            [policy] = POLICY.findall(content.decode())
            assert ("'wasm-unsafe-eval'" in policy) == ("connect-src 'none'" in policy) == (path == "demo.html")
            assert "'unsafe-eval'" not in policy


def test_a_site_leads_to_the_page_only_where_it_has_one(demo_site: Site, site: Site) -> None:
    without = {path for path in demo_site.files if path != "demo.html" and not path.startswith("demo/")}
    assert site.files.keys() == without
    for path, reader in pages(demo_site).items():
        assert ("../demo.html" if path.startswith("weights/") else "demo.html") in reader.links
    assert not any("demo.html" in link for reader in pages(site).values() for link in reader.links)


def test_what_is_not_a_script_comes_whole_out_of_one(demo_site: Site, stand_in: Demo) -> None:
    contents = {"wasm": stand_in.wasm, "network": stand_in.network, "photograph": sample_photographs()[0].read_bytes()}
    for name, content in contents.items():
        found = re.fullmatch(rb'var zooFiles = .*, \{"(\w+)": "([\w+/=]*)"\}\);\n', demo_site.files[f"demo/{name}.js"])
        assert found is not None
        assert found[1].decode() == name
        assert gzip.decompress(base64.b64decode(found[2])) == content
    assert as_script("wasm", b"x" * 99) == as_script("wasm", b"x" * 99)  # no time of day in it


def test_a_module_without_exports_at_its_end_is_refused() -> None:
    for module in (b"var a=1;", b"export{a as env};var a=1;", b"export default a;"):
        with pytest.raises(DownloadError, match="does not end with its exports"):
            classic_script(module)
    assert b"sourceMappingURL" not in classic_script(b"var a=1;export{a as env,a};\n//# sourceMappingURL=a.mjs.map\n")


def of_runtime(folder: Path) -> dict[str, Any]:
    """Settings by which `make_demo` takes a package of two small files for onnxruntime-web."""
    package = put(folder, packed({MODULE: b"var a={};export{a as env};", WASM: b"\0asm"}))
    return {"registry": folder.as_uri(), "cache": folder / "cache", "runtime": package}


def test_a_network_without_spikes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no spikes"):
        make_demo(CONTROL, **of_runtime(tmp_path))
    with pytest.raises(InputError, match="no trained weights"):
        make_demo("has8_resnet_b1_m1_d1_ste_bpd", **of_runtime(tmp_path))


def test_a_weight_whose_images_the_page_cannot_prepare_is_refused(
    records: dict[str, WeightRecord], tmp_path: Path
) -> None:
    record = records[HYBRID]
    other = record.preprocessing.model_copy(update={"crop_pct": 0.875})
    changed = record.model_copy(update={"preprocessing": other})
    catalog = Catalog([(CatalogFile(version=1, weights=(changed,)), "x")])
    with pytest.raises(InputError, match=r"crop_pct 0\.875.*'bicubic'"):
        make_demo(HYBRID, catalog=catalog, **of_runtime(tmp_path))


def test_the_same_weights_give_the_same_site(demo_site: Site, stand_in: Demo, all_weights: Catalog) -> None:
    assert build_site(all_weights, rates=False, demo=stand_in).files == demo_site.files
    assert json.loads(json.dumps(stand_in.facts))["size"] == 32
