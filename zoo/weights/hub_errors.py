"""The Hub client's errors as one error of the zoo that says what to do; imports the client."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from huggingface_hub import errors

from zoo.errors import HubError
from zoo.weights.hub_watch import AnswerError

_DISK_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)
_FAILURES = (
    AnswerError,
    httpx2.HTTPError,
    httpx2.InvalidURL,
    errors.EntryNotFoundError,
    json.JSONDecodeError,
    OSError,
)
_CACHED = "what is cached loads without one, by its commit: hf-hub:org/name@…"
_TIMMS = "timm's weights by name, with HF_HUB_OFFLINE=1"
_LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"


@contextmanager
def translated(what: str, address: str) -> Iterator[None]:
    """Turn the client's errors into one `HubError` that says what to do."""
    try:
        yield
    except _FAILURES as error:
        raise HubError(f"{what}: {_explain(error, address)}") from error
    except RuntimeError as error:  # the client's wrapping of an upload that failed
        if not isinstance(error.__cause__, _FAILURES):
            raise
        raise HubError(f"{what}: {_explain(error.__cause__, address)}") from error


def _explain(error: Exception, address: str) -> str:
    """Why it failed and what to do, in one line."""
    for kind, text in _REASONS:
        if isinstance(error, kind):
            return text.format(address=address)
    if isinstance(error, errors.HfHubHTTPError):
        return _explain_status(error.response.status_code, error, address)
    if isinstance(error, httpx2.HTTPError):
        return f"{address} cannot be reached ({type(error).__name__}); check the network; {_CACHED}, or {_TIMMS}"
    if isinstance(error, OSError) and error.errno in _DISK_FULL:
        return f"no space left to write it ({error}); free some, or name another folder with cache_dir or HF_HOME"
    return _cleaned(str(error)) or type(error).__name__


def _cleaned(text: str) -> str:
    """The first line of what may be a server's words: short, and without what a terminal would obey."""
    line = next(iter(text.strip().splitlines()), "")
    return "".join(character for character in line[:800] if character.isprintable())


_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (errors.GatedRepoError, "gated; ask for access at its page on {address}, then " + _LOG_IN),
    (errors.RevisionNotFoundError, "{address} has no such revision of it; see its history there for the commits"),
    (
        errors.RepositoryNotFoundError,
        "{address} has no such repository, or it is private; check its name, or " + _LOG_IN,
    ),
    (
        errors.OfflineModeIsEnabled,
        "HF_HUB_OFFLINE forbids to ask {address}; unset it once while there is a network; " + _CACHED,
    ),
    (errors.LocalTokenNotFoundError, "no token; " + _LOG_IN),
    (errors.LocalEntryNotFoundError, "not in the cache, and {address} cannot be reached"),
    (
        json.JSONDecodeError,
        "{address} does not answer as a Hub does; check the address, and whether the network asks to log in",
    ),
    (httpx2.InvalidURL, "{address} is not an address; the form is https://host"),
    (errors.EntryNotFoundError, "there is no such file in it; is it a model that `zoo publish` made?"),
)


def _explain_status(status: int, error: errors.HfHubHTTPError, address: str) -> str:
    message = _cleaned(error.server_message or str(error))
    reasons = {
        401: f"{address} does not accept the token; {_LOG_IN}",
        403: f"the token may not do that ({message}); use one with write access",
        412: "somebody else has changed the repository meanwhile; nothing was written, run the command again",
        429: f"{address} asks to come back later ({message})",
    }
    return reasons.get(status, f"{address} answered {status} ({message}); try again later")
