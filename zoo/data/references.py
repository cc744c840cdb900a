"""References to data that timm's readers read, and what they do not take; importing this loads no reader."""

from __future__ import annotations

from pathlib import Path

from zoo.data.images import display_name
from zoo.errors import InputError

PREFIXES = ("hfds", "hfids", "wds")
"""A set of the Hub or a folder of .parquet files, by index; the same as a stream; tar files of WebDataset."""

STREAMS = ("hfids", "wds")
"""Those of them that are read in their own order alone."""


def is_reference(named: object) -> bool:
    """Whether that names data for one of timm's readers."""
    prefix, separator, rest = str(named).partition("/") if isinstance(named, str) else ("", "", "")
    return bool(separator and rest.strip("/")) and prefix.lower() in PREFIXES


def is_stream(named: object) -> bool:
    """Whether that names data which are read once, in their own order."""
    return is_reference(named) and str(named).partition("/")[0].lower() in STREAMS


def refuse_unread(path: Path) -> None:
    """Raise `InputError` for files of other libraries that are named as if they were ours; says how to name them."""
    where = display_name(path)
    suffix = path.suffix.lower()
    if path.is_file() and suffix in (".tar", ".parquet"):
        what = f"wds/{where}" if suffix == ".tar" else f"hfds/{display_name(path.parent)}"
        raise InputError(f"{where} is a {suffix} file, which timm's readers read; name it as {what}")
    if not path.is_dir():
        return
    refuse_saved(path)
    for pattern, what in (("*.parquet", "hfds"), ("*.tar", "wds")):
        if any(path.glob(pattern)) and not any(child.is_dir() for child in path.iterdir()):
            raise InputError(
                f"{where} is a folder of {pattern} files, which timm's readers read; name it {what}/{where}"
            )


def refuse_saved(folder: Path) -> None:
    """Raise `InputError` for what `save_to_disk` of the library datasets wrote."""
    where = display_name(folder)
    if (folder / "dataset_dict.json").is_file():
        again = "for split, part in load_from_disk(FOLDER).items(): part.to_parquet(f'OTHER/{split}.parquet')"
    elif (folder / "state.json").is_file() and (folder / "dataset_info.json").is_file():
        again = "load_from_disk(FOLDER).to_parquet('OTHER/train.parquet')"
    else:
        return
    raise InputError(
        f"{where} was written by save_to_disk of the library datasets, which timm's readers do not take; write it as "
        f"parquet by `{again}`, and name that as hfds/OTHER"
    )
