"""What a power cut can leave of a folder, from a trace of a program's system calls.

A program runs under strace, which records what it writes, renames, removes and syncs below one
folder. From that, `Disk` computes states that a file system may show after the power went off at
some instant: of a file, writes since its last fsync may be missing, whole or in sectors; of a
folder, the newest changes of entries since its last fsync may be missing. POSIX promises no more.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

CALLS = (
    "open,openat,creat,close,dup,dup2,dup3,fcntl,lseek,write,pwrite64,writev,pwritev,pwritev2,"
    "truncate,ftruncate,fallocate,copy_file_range,sendfile,rename,renameat,renameat2,link,linkat,"
    "unlink,unlinkat,mkdir,mkdirat,rmdir,symlink,symlinkat,fsync,fdatasync,msync,mmap"
)
SECTOR = 512


class Event(NamedTuple):
    """One effect. name: write, truncate, create, rename, exchange, link, remove, mkdir, sync or
    say (to the standard output)."""

    name: str
    path: str
    other: str = ""  # the new or other name, of rename, exchange and link
    offset: int = 0  # the new size, of truncate
    data: bytes = b""


def is_traceable() -> bool:
    """Whether strace is installed and may trace here."""
    if not shutil.which("strace"):
        return False
    return subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True).returncode == 0


def trace(command: list[str], root: Path, log: Path, env: dict[str, str]) -> list[Event]:
    """Run a program and return what it did below `root`, and what it wrote to its output."""
    options = ["-f", "-y", "-xx", "-s", "1000000000", "--seccomp-bpf", "-e", f"trace={CALLS}"]
    done = subprocess.run(
        ["strace", *options, "-o", str(log), *command], env=env, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr[-2000:]
    reader = _LogReader(str(root))
    with open(log, encoding="ascii", errors="replace") as lines:
        for line in lines:
            reader.read(line)
    return reader.events


# `12 write(3<\x2f\x74>, "\x61", 1) = 1`
_CALL = re.compile(r"(\w+)\((.*)\)\s+= (-?\d+|0x[0-9a-f]+)(.*)$", re.DOTALL)
_BYTES = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(?:\.\.\.)?')
_FILE = re.compile(r"(AT_FDCWD|\d+)<((?:\\x[0-9a-f]{2})*)>(\(deleted\))?")


def _unescaped(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


@dataclass
class _Open:
    """An open file description: what descriptors made by `dup` share."""

    offset: int = 0
    appends: bool = False


class _LogReader:
    """Turns lines of strace into events. Descriptors of all processes are taken for one table:
    only one of them may write below `root`; that the final state agrees is checked."""

    def __init__(self, root: str) -> None:
        self.events: list[Event] = []
        self._root = root
        self._unfinished: dict[str, str] = {}
        self._descriptors: dict[int, _Open] = {}
        self._cwd = os.getcwd()

    def read(self, line: str) -> None:
        process, _, text = line.rstrip("\n").partition(" ")
        text = text.lstrip()
        if text.endswith("<unfinished ...>"):
            self._unfinished[process] = text.removesuffix("<unfinished ...>")
            return
        if resumed := re.match(r"<\.\.\. \w+ resumed>(.*)", text, re.DOTALL):
            text = self._unfinished.pop(process) + resumed[1]
        call = _CALL.match(text)
        if call is None or call[3].startswith("-"):  # a signal, an exit, or an error
            return
        name, arguments, result, rest = call.groups()
        handler = getattr(self, "_" + name, None)
        if handler is not None:
            handler(arguments, int(result, 0), rest)

    # helpers

    def _emit(self, name: str, path: str, **details) -> None:
        if path == self._root or path.startswith(self._root + "/"):
            self.events.append(Event(name, path, **details))

    def _paths(self, arguments: str) -> list[str]:
        """The paths of a call: each string, joined to the folder before it, if there is one."""
        paths, folder = [], self._cwd
        for token in re.finditer(f"{_FILE.pattern}|{_BYTES.pattern}", arguments):
            if token[1] is not None:
                folder = os.fsdecode(_unescaped(token[2]))
            else:
                path = os.fsdecode(_unescaped(token[4]))
                paths.append(os.path.normpath(os.path.join(folder, path)))
        return paths

    @staticmethod
    def _file(arguments: str) -> tuple[int, str]:
        file = _FILE.match(arguments)
        assert file is not None, arguments[:200]
        # no effect on a file without a name can be seen later
        path = "" if file[3] else os.fsdecode(_unescaped(file[2]))
        return int(file[1]), path

    def _is_inside(self, path: str) -> bool:
        return path.startswith(self._root + "/")

    # calls

    def _openat(self, arguments: str, result: int, rest: str) -> None:
        path = self._paths(arguments)[-1]
        if not self._is_inside(path) or "O_DIRECTORY" in arguments:
            return
        if "O_WRONLY" not in arguments and "O_RDWR" not in arguments:
            return
        self._descriptors[result] = _Open(appends="O_APPEND" in arguments)
        if "O_CREAT" in arguments:
            self._emit("create", path)
        if "O_TRUNC" in arguments:
            self._emit("truncate", path)

    _open = _openat

    def _dup(self, arguments: str, result: int, rest: str) -> None:
        descriptor = int(re.match(r"\d+", arguments)[0])  # type: ignore[index]
        if descriptor in self._descriptors:
            self._descriptors[result] = self._descriptors[descriptor]

    _dup2 = _dup3 = _dup

    def _fcntl(self, arguments: str, result: int, rest: str) -> None:
        if "F_DUPFD" in arguments:
            self._dup(arguments, result, rest)

    def _lseek(self, arguments: str, result: int, rest: str) -> None:
        descriptor, path = self._file(arguments)
        if self._is_inside(path) and descriptor in self._descriptors:
            self._descriptors[descriptor].offset = result

    def _write(self, arguments: str, result: int, rest: str) -> None:
        descriptor, path = self._file(arguments)
        if descriptor == 1:
            self.events.append(Event("say", path, data=self._data(arguments)))
        elif self._is_inside(path):
            file = self._descriptors[descriptor]
            assert not file.appends, "appending is not traced"
            self._emit("write", path, offset=file.offset, data=self._data(arguments)[:result])
            file.offset += result

    _writev = _write

    def _pwrite64(self, arguments: str, result: int, rest: str) -> None:
        _, path = self._file(arguments)
        offset = int(arguments.rsplit(", ", 1)[1], 0)
        self._emit("write", path, offset=offset, data=self._data(arguments)[:result])

    def _data(self, arguments: str) -> bytes:
        return b"".join(_unescaped(match[1]) for match in _BYTES.finditer(arguments))

    def _ftruncate(self, arguments: str, result: int, rest: str) -> None:
        _, path = self._file(arguments)
        self._emit("truncate", path, offset=int(arguments.rsplit(", ", 1)[1], 0))

    def _not_traced(self, arguments: str, result: int, rest: str) -> None:
        paths = [_unescaped(match[2]).decode() for match in _FILE.finditer(arguments)]
        assert not any(map(self._is_inside, paths)), f"a call that is not traced: {paths}"

    _fallocate = _copy_file_range = _sendfile = _pwritev = _pwritev2 = _not_traced

    def _symlink(self, arguments: str, result: int, rest: str) -> None:
        assert not any(map(self._is_inside, self._paths(arguments))), "a call that is not traced"

    _symlinkat = _truncate = _creat = _symlink

    def _mmap(self, arguments: str, result: int, rest: str) -> None:
        if "MAP_SHARED" in arguments and "PROT_WRITE" in arguments:
            file = _FILE.search(arguments)
            if file is not None and not _unescaped(file[2]).endswith(b"-shm"):
                self._not_traced(arguments, result, rest)

    def _rename(self, arguments: str, result: int, rest: str) -> None:
        old, new = self._paths(arguments)
        if self._is_inside(old) or self._is_inside(new):
            assert self._is_inside(old), "renamed from outside"
            assert self._is_inside(new), "renamed to outside"
            name = "exchange" if "RENAME_EXCHANGE" in arguments else "rename"
            self._emit(name, old, other=new)

    _renameat = _renameat2 = _rename

    def _link(self, arguments: str, result: int, rest: str) -> None:
        old, new = self._paths(arguments)
        self._emit("link", old, other=new)

    _linkat = _link

    def _unlink(self, arguments: str, result: int, rest: str) -> None:
        self._emit("remove", self._paths(arguments)[0])

    _unlinkat = _rmdir = _unlink

    def _mkdir(self, arguments: str, result: int, rest: str) -> None:
        self._emit("mkdir", self._paths(arguments)[0])

    _mkdirat = _mkdir

    def _fsync(self, arguments: str, result: int, rest: str) -> None:
        self._emit("sync", self._file(arguments)[1])

    _fdatasync = _fsync


@dataclass
class _File:
    """synced: content at the last fsync; pending: what was done since."""

    content: bytearray = field(default_factory=bytearray)
    synced: bytes = b""
    pending: list[Event] = field(default_factory=list)


@dataclass
class _Folder:
    """entries: now; synced: at the last fsync; pending: changes since, each to be seen as one."""

    entries: dict[str, _File | _Folder] = field(default_factory=dict)
    synced: dict[str, _File | _Folder] = field(default_factory=dict)
    pending: list[dict[str, _File | _Folder | None]] = field(default_factory=list)

    def change(self, changes: dict[str, _File | _Folder | None]) -> None:
        _apply(self.entries, changes)
        self.pending.append(changes)


def _apply(entries: dict, changes: dict) -> None:
    for name, node in changes.items():
        if node is None:
            entries.pop(name, None)
        else:
            entries[name] = node


class Disk:
    """The files below a folder while events happen to them.

    Example: disk = Disk(root); disk.happen(event) ...; disk.leave(random.Random(1), "any").
    """

    def __init__(self, root: Path) -> None:
        """root: was empty, and on the disk."""
        self._root = root
        self._top = _Folder()

    def happen(self, event: Event) -> None:
        if event.name != "say":
            getattr(self, "_" + event.name)(event)

    def _at(self, path: str) -> _File | _Folder:
        node: _File | _Folder = self._top
        for part in Path(path).relative_to(self._root).parts:
            assert isinstance(node, _Folder), path
            node = node.entries[part]
        return node

    def _parent(self, path: str) -> tuple[_Folder, str]:
        folder = self._at(os.path.dirname(path))
        assert isinstance(folder, _Folder), path
        return folder, os.path.basename(path)

    def _create(self, event: Event) -> None:
        folder, name = self._parent(event.path)
        if name not in folder.entries:
            folder.change({name: _File()})

    def _mkdir(self, event: Event) -> None:
        folder, name = self._parent(event.path)
        folder.change({name: _Folder()})

    def _remove(self, event: Event) -> None:
        folder, name = self._parent(event.path)
        folder.change({name: None})

    def _link(self, event: Event) -> None:
        folder, name = self._parent(event.other)
        folder.change({name: self._at(event.path)})

    def _rename(self, event: Event) -> None:
        node = self._at(event.path)
        old, old_name = self._parent(event.path)
        new, new_name = self._parent(event.other)
        if old is new:
            old.change({old_name: None, new_name: node})
        else:
            new.change({new_name: node})
            old.change({old_name: None})

    def _exchange(self, event: Event) -> None:
        one, one_name = self._parent(event.path)
        other, other_name = self._parent(event.other)
        assert one is other, "exchanged between folders"
        one.change({one_name: self._at(event.other), other_name: self._at(event.path)})

    def _write(self, event: Event) -> None:
        file = self._at(event.path)
        assert isinstance(file, _File), event.path
        file.pending.append(event)
        _write_into(file.content, event.offset, event.data)

    def _truncate(self, event: Event) -> None:
        file = self._at(event.path)
        assert isinstance(file, _File), event.path
        file.pending.append(event)
        _resize(file.content, event.offset)

    def _sync(self, event: Event) -> None:
        node = self._at(event.path)
        node.pending.clear()
        if isinstance(node, _File):
            node.synced = bytes(node.content)
        else:
            node.synced = dict(node.entries)

    def leave(self, chance: random.Random, what: str) -> None:
        """Write below `root`, which is emptied first, what a power cut leaves now.

        Args:
            chance: Decides what is lost.
            what: "synced": all that was not synced is lost; "everything": nothing is lost, as when
                only the process is killed; "any": something in between.
        """
        for entry in self._root.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        self._leave_folder(self._top, self._root, chance, what)

    def _leave_folder(self, folder: _Folder, to: Path, chance: random.Random, what: str) -> None:
        entries = dict(folder.synced)
        count = len(folder.pending)
        survive = {"synced": 0, "everything": count}.get(what, chance.randint(0, count))
        for changes in folder.pending[:survive]:
            _apply(entries, changes)
        for name, node in entries.items():
            if isinstance(node, _Folder):
                (to / name).mkdir()
                self._leave_folder(node, to / name, chance, what)
            elif name.endswith("-shm"):  # memory that SQLite's processes share, on no disk
                (to / name).write_bytes(chance.randbytes(32768))
            else:
                (to / name).write_bytes(_left_of_file(node, chance, what))


def _left_of_file(file: _File, chance: random.Random, what: str) -> bytes:
    if what == "any":
        what = chance.choice(["synced", "everything", "first", "sectors"])
    if what == "everything":
        return bytes(file.content)
    content = bytearray(file.synced)
    if what == "synced":
        return bytes(content)
    stop = len(file.pending) if what == "sectors" else chance.randint(0, len(file.pending))
    for number, event in enumerate(file.pending[:stop]):
        if event.name == "truncate":
            if what == "first" or chance.random() < 0.5:
                _resize(content, event.offset)
            continue
        for start in range(0, len(event.data), SECTOR):
            is_torn = what == "sectors" or number == stop - 1
            if not is_torn or chance.random() < 0.5:
                piece = event.data[start : start + SECTOR]
                _write_into(content, event.offset + start, piece)
    return bytes(content)


def _write_into(content: bytearray, offset: int, data: bytes) -> None:
    if len(content) < offset:
        _resize(content, offset)
    content[offset : offset + len(data)] = data


def _resize(content: bytearray, size: int) -> None:
    if size < len(content):
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))
