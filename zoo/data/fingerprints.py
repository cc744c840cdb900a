"""What tells one data set from another: a line about names and lengths, and the bytes of the images behind it.

`3f…` is the form of earlier versions: names, labels, lengths and size. `3f…/bytes-90…` has all bytes behind it, and
`3f…/sampled-90…`, for what is too large to be read through, every modification time and the bytes of a sample.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, final

SAMPLE = 2000
"""Images whose bytes are read where there are too many to read them all."""

READ_THROUGH = 8 * 2**30
"""Bytes of files up to which all are read, when they are not decoded anyway: a minute from a slow disk."""

_DIGEST, _CHUNK = 16, 2**18

Kind = Literal["bytes", "sampled"]

_FORM = re.compile(r"(?P<listed>[0-9a-f]{16})(/(?P<kind>bytes|sampled)-(?P<contents>[0-9a-f]{16}))?(?P<limit>:\d+)?")

_SAME = {
    "bytes": "byte for byte",
    "sampled": f"by names, lengths, modification times and the bytes of {SAMPLE:,} of them, for they are too large to "
    "be read through",
    None: "by names and lengths alone: the checkpoint does not tell whether their bytes are the same",
}
_OTHER = {
    "bytes": "the same names and lengths, but other bytes",
    "sampled": "the same names and lengths, but other modification times, or other bytes in a sample; a copy that is "
    "to pass for the original keeps them with cp -p or rsync -t",
}


@final
@dataclass(frozen=True)
class Comparison:
    """Of the data of a checkpoint with those of now.

    Attributes:
        same: whether they are, as far as could be compared.
        words: where they are the same, how that was found; else what differs.
    """

    same: bool
    words: str


def write_fingerprint(listed: str, kind: Kind, contents: str) -> str:
    """Of what is listed and of what the images' bytes are, 16 hexadecimal digits each."""
    return f"{listed}/{kind}-{contents}"


def earlier_form(fingerprint: str) -> str:
    """What earlier versions called the same data: names, labels, lengths and size alone."""
    match = _FORM.fullmatch(fingerprint)
    return fingerprint if match is None else match["listed"] + (match["limit"] or "")


def is_sampled(fingerprint: str) -> bool:
    """Whether not all bytes are behind it."""
    match = _FORM.fullmatch(fingerprint)
    return match is not None and match["kind"] == "sampled"


def compare(before: Any, now: str) -> Comparison:
    """A checkpoint's fingerprint with the present one; forms of different kinds are compared by what both have."""
    old, new = _FORM.fullmatch(str(before)), _FORM.fullmatch(now)
    if old is None or new is None:  # of a split that was made elsewhere
        return Comparison(
            before == now, "by the fingerprint that they have" if before == now else f"{before}, now {now}"
        )
    if earlier_form(old[0]) != earlier_form(new[0]):
        return Comparison(False, f"{old['listed']}, now {new['listed']}")
    if old["kind"] != new["kind"]:
        return Comparison(True, _SAME[None])
    same = old["contents"] == new["contents"]
    return Comparison(same, (_SAME if same else _OTHER)[new["kind"]])


def hash_stream(file: BinaryIO) -> bytes:
    """16 bytes that stand for all that is in the file from here on."""
    digest = hashlib.blake2b(digest_size=_DIGEST)  # without special instructions it is twice as fast as SHA-256
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.digest()


def hash_buffer(data: bytes | memoryview) -> bytes:
    """The same of bytes that are in memory."""
    return hashlib.blake2b(data, digest_size=_DIGEST).digest()
