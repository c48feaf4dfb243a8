"""Files that would stop a build: each is given up within its limits, and the others are read."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest

from mbert_retrieval import InputError
from mbert_retrieval.errors import UnreadableError
from mbert_retrieval.sources import reader_process
from mbert_retrieval.sources.confined_reader import ConfinedReader
from mbert_retrieval.sources.decode import read_bytes
from mbert_retrieval.sources.passages import file_passages
from mbert_retrieval.sources.scan import SourceFile
from mbert_retrieval.sources.selection import EVERYTHING, Selection
from support.cli import ids, run_json


def split(reader, path, content, selection=EVERYTHING):
    return reader.passages(SourceFile(path, len(content), 0), path, content, selection)


def test_passages_are_those_that_the_splitter_gives():
    file = Path(__file__)
    source = SourceFile(str(file), 0, 0)
    selection = Selection(include=("*.py",), documents="whole")
    expected = list(file_passages(source, "ü/\udc80.md", b"# \xc3\xbc\nword\n", selection))
    with ConfinedReader() as reader:
        assert split(reader, "ü/\udc80.md", b"# \xc3\xbc\nword\n", selection) == expected
        content = file.read_bytes()
        assert split(reader, "a.py", content) == list(
            file_passages(source, "a.py", content, EVERYTHING)
        )


def test_a_reason_is_what_the_splitter_says():
    with ConfinedReader() as reader:
        with pytest.raises(InputError, match=r"^binary$"):
            split(reader, "a.py", b"a\0b")
        assert len(split(reader, "a.py", b"x = 1")) == 1


def pdf_of_pages(count: int, stream: bytes) -> bytes:
    """A PDF whose pages all have the same content."""
    packed = zlib.compress(stream)
    kids = " ".join(["3 0 R"] * count).encode()
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Count %d/Kids[%s]>>" % (count, kids),
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]/Contents 4 0 R"
        b"/Resources<</Font<</F 5 0 R>>>>>>",
        b"<</Filter/FlateDecode/Length %d>>stream\n%s\nendstream" % (len(packed), packed),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    content, offsets = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(content))
        content += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    rows = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    table = b"xref\n0 6\n0000000000 65535 f \n" + rows
    trailer = b"trailer<</Root 1 0 R/Size 6>>\nstartxref\n%d\n%%%%EOF" % len(content)
    return content + table + trailer


SLOW = {
    "page.html": b"<a " * 22_000,
    "many.pdf": pdf_of_pages(2000, b"BT /F 9 Tf (word) Tj ET\n" * 5_000),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_a_file_that_takes_too_long_is_given_up_and_the_next_one_is_read(name):
    with ConfinedReader() as reader:
        started = time.monotonic()
        with pytest.raises(InputError, match=r"^takes more than \d+ s of processor time$"):
            split(reader, name, SLOW[name])
        assert time.monotonic() - started < 60
        assert len(split(reader, "a.py", b"x = 1")) == 1


def test_the_kernel_ends_what_takes_too_long(monkeypatch, tmp_path):
    """The same with a limit of a second, so that the test is short."""
    assert reader_process.seconds_for(0) == 5
    assert reader_process.seconds_for(1 << 20) == 16
    monkeypatch.setattr("mbert_retrieval.sources.confined_reader.PROGRAM", PROGRAM_OF_A_SECOND)
    with ConfinedReader() as reader:
        with pytest.raises(InputError, match="of processor time"):
            split(reader, "page.html", b"<a " * 22_000)
        assert len(split(reader, "a.py", b"x = 1")) == 1


PROGRAM_OF_A_SECOND = """
import json, sys; sys.path[:] = json.loads(sys.stdin.buffer.readline())
from mbert_retrieval.sources import reader_process
reader_process.SECONDS = 0
reader_process.main()
"""


def test_a_crash_is_the_file_s_reason_and_an_end_from_outside_is_not(tmp_path):
    for signal_, error in ((signal.SIGSEGV, InputError), (signal.SIGKILL, UnreadableError)):
        with ConfinedReader() as reader:
            process = reader.start()
            os.kill(process.pid, signal.SIGSTOP)
            os.kill(process.pid, signal_)
            os.kill(process.pid, signal.SIGCONT)
            process.wait()
            reader._is_ready = True
            with pytest.raises(error) as refused:
                split(reader, "a.py", b"x = 1")
            assert type(refused.value) is error
            assert len(split(reader, "a.py", b"x = 1")) == 1


def test_a_grammar_that_crashes_costs_one_file():
    """YAML's runs over the end of its stack."""
    deep = b"".join(b" " * level + b"a:\n" for level in range(1400))
    with ConfinedReader() as reader:
        with pytest.raises(InputError, match=r"^crashes its parser \(SIG[A-Z]+\)$"):
            split(reader, "a.yaml", deep)
        assert len(split(reader, "a.yaml", b"a: 1")) == 1


def test_a_long_heading_is_not_repeated_in_full():
    with ConfinedReader() as reader:
        passages = split(reader, "a.md", b"# a" + b" #" * 100_000 + b" x")
    assert {len(passage.title) for passage in passages} == {200}


def test_entries_that_are_no_files_are_skipped(tmp_path):
    os.mkfifo(tmp_path / "pipe.py")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket.py"))
    (tmp_path / "loop.py").symlink_to("loop.py")
    (tmp_path / "device.py").symlink_to("/dev/zero")
    (tmp_path / "a.py").write_text("def a(): pass\n")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.py")).write_text("def e(): pass\n")
    (facts,) = run_json("index", "build", tmp_path, "--encoder", "none")
    listener.close()
    skipped = {Path(file["path"]).name: file["reason"] for file in facts["skipped"]}
    link, other = "symbolic link", "not a plain file"
    expected = {"pipe.py": other, "socket.py": other, "loop.py": link, "device.py": link}
    assert skipped == expected
    assert ids(tmp_path / ".mbert") == {"a.py:1-1", "caf\ufffd.py:1-1"}


def test_a_file_that_becomes_another_one_while_it_is_read(tmp_path, monkeypatch):
    file = tmp_path / "a.py"
    file.write_text("x")
    status = file.stat()
    monkeypatch.setattr(Path, "stat", lambda self, **options: status)
    file.unlink()
    with pytest.raises(UnreadableError, match="No such file"):
        read_bytes(file)
    os.mkfifo(file)
    with pytest.raises(InputError, match="not a plain file"):
        read_bytes(file)
    file.unlink()
    file.write_text("x" * 200)
    with pytest.raises(InputError, match="too large"):
        read_bytes(file, 100)


def test_a_process_that_cannot_start_stops_everything(monkeypatch):
    """Were it taken for the files' fault, all their passages would be deleted."""
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with ConfinedReader() as reader, pytest.raises(InputError, match="cannot start /bin/false"):
        split(reader, "a.py", b"x = 1")


@pytest.mark.parametrize(
    "cookie", ["raw_unicode_escape", "unicode_escape", "utf-7", "utf-8-surrogatepass", "cp65001"]
)
def test_an_encoding_that_spells_lone_surrogates_stops_no_build(tmp_path, cookie):
    texts = {"utf-7": b"+2AA-"}
    text = texts.get(cookie, b"\\ud800 \xed\xa0\x80")
    (tmp_path / "a.py").write_bytes(b"# -*- coding: %s -*-\n# %s\n" % (cookie.encode(), text))
    (tmp_path / "b.py").write_text("def b(): pass\n")
    (facts,) = run_json("index", "build", tmp_path, "--encoder", "none")
    assert [Path(file["path"]).name for file in facts["skipped"]] == ["a.py"]
    assert ids(tmp_path / ".mbert") == {"b.py:1-1"}


def test_no_module_of_the_current_folder_is_imported(tmp_path, monkeypatch):
    """A repository from somebody else may have a `json.py`."""
    (tmp_path / "json.py").write_text("raise SystemExit(3)")
    (tmp_path / "mbert_retrieval").mkdir()
    (tmp_path / "mbert_retrieval/__init__.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    with ConfinedReader() as reader:
        assert len(split(reader, "a.py", b"x = 1")) == 1


def test_an_interruption_ends_a_build_within_a_second(tmp_path):
    (tmp_path / "a.html").write_bytes(b"<a " * 22_000)
    command = [sys.executable, "-m", "mbert_retrieval.cli.index", "build", ".", "--encoder", "none"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        process_group=0,
        # a shell's background job ignores it, and so would everything that it starts
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while not children.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    child = int(children.read_text().split()[0])
    time.sleep(1)
    started = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert time.monotonic() - started < 3  # a second on a machine that is not busy
    assert b"Traceback" not in errors
    assert not Path(f"/proc/{child}").exists()
