"""What the Hub demands of a card's metadata (hub-docs: modelcard.md, repositories-licenses.md)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

FRONT_MATTER = re.compile(r"\A\s*---(?:\r\n|\r|\n)(.*?)(?:\r\n|\r|\n)---[ \t]*(?:\r\n|\n|\Z)", re.DOTALL)
LICENSES = """
apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m
afl-3.0 artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5
cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0
cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0
cdla-permissive-2.0 wtfpl ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1
lgpl-3.0 isc lppl-1.3c ms-pl mpl-2.0 odc-by odbl openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl
lgpl-lr deepfloyd-if-license llama2 gemma unknown other
"""


def check_card(text: str) -> tuple[list[str], list[str]]:
    """Errors and warnings of a README.md."""
    match = FRONT_MATTER.match(text)
    if match is None:
        return [], ["empty or missing yaml metadata in repo card"]
    try:
        data = yaml.safe_load(match.group(1))
    except yaml.YAMLError as error:
        return [f"YAML: {error}"], []
    if not isinstance(data, dict):
        return ["the metadata must be an object"], []
    return list(_errors(data)), []


def _errors(data: dict[str, Any]) -> Iterator[str]:
    license_id = data.get("license")
    if license_id is not None and license_id not in LICENSES.split():
        yield f'"license" must be one of [{", ".join(LICENSES.split())}]'
    if license_id == "other" and "license_name" not in data:
        yield '"license_name" is required where license is other'
    for key in ("tags", "datasets", "metrics"):
        value = data.get(key)
        items = value if isinstance(value, list) else [] if value is None else [value]
        if not all(isinstance(item, str) for item in items):
            yield f'"{key}" must be an array of strings'
    for index, model in enumerate(data.get("model-index") or []):
        yield from _index_errors(f"model-index[{index}]", model)


def _index_errors(where: str, model: dict[str, Any]) -> Iterator[str]:
    if not isinstance(model.get("name"), str):
        yield f'"{where}.name" is required'
    if not isinstance(model.get("results"), list):
        yield f'"{where}.results" is required'
        return
    for index, result in enumerate(model["results"]):
        for part, key in (("task", "type"), ("dataset", "type"), ("dataset", "name")):
            if not isinstance((result.get(part) or {}).get(key), str):
                yield f'"{where}.results[{index}].{part}.{key}" is required'
        for metric in result.get("metrics") or [{}]:
            if "type" not in metric or "value" not in metric:
                yield f'"{where}.results[{index}].metrics" need a type and a value'
