"""Which indexes the user trusts: those made here, and those given to `mbert-index trust`.

An index can come from somebody else, in a cloned repository or a download. What it records (source
folders to read, an encoder to load) is then somebody else's wish, so an index is only searched, as
it is, until the user trusts it. See docs/design/trust.md.

There is one small file per trusted index in `$XDG_STATE_HOME/mbert_retrieval/trusted`. Its name
binds the random id of the index to its path, so neither another index at that path nor a copy of
the id at another path is trusted.
"""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from contextlib import suppress
from pathlib import Path
from stat import S_ISREG

from ..errors import UntrustedError
from ..files import make_folder, write_atomically

# (path, index id) of indexes made by this process, where the state folder cannot be written
_made_unrecorded: set[tuple[str, str]] = set()


def is_trusted(index: Path, index_id: str) -> bool:
    """Return whether the user made the index at this path, or trusts it."""
    if (str(index.resolve()), index_id) in _made_unrecorded:
        return True
    folder = _folder()
    if folder is None:
        return False
    try:
        status = os.lstat(folder / _entry(index, index_id))
    except OSError:
        return False
    # an entry of another user (`sudo` with the user's home, for example) says nothing about this
    return S_ISREG(status.st_mode) and status.st_uid == os.geteuid()


def record_trust(index: Path, index_id: str) -> None:
    """Trust the index at this path from now on. Raises OSError if that cannot be recorded."""
    folder = _folder()
    if folder is None:
        raise FileNotFoundError("there is no home folder, and XDG_STATE_HOME is not set")
    make_folder(folder, mode=0o700, exist_ok=True)
    facts = {"index": str(index.resolve()), "id": index_id}
    write_atomically(folder / _entry(index, index_id), json.dumps(facts).encode())


def forget_former(index: Path, index_id: str) -> None:
    """Forget other indexes that were at this path before."""
    folder, own = _folder(), _entry(index, index_id)
    for entry in folder.glob(f"*-{_digest(_path_bytes(index))}") if folder is not None else ():
        if entry.name != own:
            with suppress(OSError):
                entry.unlink()


def record_made(index: Path, index_id: str) -> None:
    """Trust an index that was just made. What prevents it is logged, in a line: the index then
    works as long as this process."""
    try:
        record_trust(index, index_id)
    except OSError as error:
        from logging import getLogger

        _made_unrecorded.add((str(index.resolve()), index_id))
        reason = f"{error.strerror or error}: {_folder() or 'no folder'}"
        getLogger(__name__).warning(
            "note: cannot record that you made the index %s (%s), so other commands will only "
            "search it: set XDG_STATE_HOME to a folder that can be written, then mbert-index trust",
            index,
            reason,
        )


def revoke(index: Path, index_id: str) -> bool:
    """No longer trust the index at this path. Return whether it was trusted."""
    was_trusted = is_trusted(index, index_id)
    _made_unrecorded.discard((str(index.resolve()), index_id))
    folder = _folder()
    if folder is not None:
        (folder / _entry(index, index_id)).unlink(missing_ok=True)
    return was_trusted


def check_trusted(index: Path, index_id: str, refused: str) -> None:
    """Raise UntrustedError unless the index is trusted. refused: what is not done, such as
    "it is not changed"."""
    if not is_trusted(index, index_id):
        raise UntrustedError(
            f"{whose(index, index_id)}, so {refused}: if you trust who made it, run "
            f"mbert-index trust {shlex.quote(str(index))}"
        )


def searched_as_it_is(index: Path, index_id: str) -> str:
    """Return what a search of an untrusted index tells the user."""
    return (
        f"{whose(index, index_id)}: it is searched as it is, and its sources are not read until "
        f"you run mbert-index trust {shlex.quote(str(index))}"
    )


def whose(index: Path, index_id: str) -> str:
    """Return the start of a sentence that says why an index is not trusted."""
    if former := _trusted_paths(index_id):
        return f"the index {index} was moved or copied from {former[0]}"
    return f"the index {index} was made elsewhere, or by an earlier version"


def _trusted_paths(index_id: str) -> list[str]:
    """Return the other paths at which an index with this id is trusted."""
    folder, paths = _folder(), []
    for entry in folder.glob(f"{_digest(index_id.encode())}-*") if folder is not None else ():
        with suppress(OSError, ValueError, KeyError, TypeError):
            paths.append(str(json.loads(entry.read_bytes())["index"]))
    return sorted(paths)


def _folder() -> Path | None:
    """Return the folder of the entries; None where there is no home folder."""
    base = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(base):  # the XDG specification has relative ones ignored
        base = os.path.expanduser("~/.local/state")
    return Path(base) / "mbert_retrieval" / "trusted" if os.path.isabs(base) else None


def _entry(index: Path, index_id: str) -> str:
    return f"{_digest(index_id.encode())}-{_digest(_path_bytes(index))}"


def _path_bytes(index: Path) -> bytes:
    return os.fsencode(index.resolve())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:40]
