"""Read the files of a scan and yield their passages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from ..errors import InputError
from ..types import Passage
from .decode import decode, read_bytes
from .jsonl import read_jsonl
from .paths import display_path, source_root
from .scan import SourceFile, scan
from .selection import EVERYTHING, Selection
from .skip_rules import TRANSLATIONS, skip_reason
from .walk import SkippedFile

PDF_SUFFIX = ".pdf"
PDF_SIZE_FACTOR = 32  # times the size limit of text: only a small part of a PDF is text


def read_source(
    path: str | Path,
    skipped: list[SkippedFile] | None = None,
    root: str | Path | None = None,
    selection: Selection = EVERYTHING,
) -> Iterator[Passage]:
    """Yield the passages of a source.

    Args:
        path: A folder of code and text, one file, a `.jsonl` collection, or a BEIR folder.
        skipped: Receives the files of a folder that give no passages, while the passages are read.
        root: The folder that the paths of passages are relative to. By default `source_root` of
            this source.
        selection: Which files of a folder to take, and how to split them.

    Yields:
        Passages, file by file in a fixed order.

    Raises:
        InputError: If the source does not exist or is not text, and for an invalid line of a
            collection.

    Example:
        >>> import json
        >>> passages = list(read_source(json.__file__))
        >>> {"dumps", "loads"} <= {passage.title for passage in passages}
        True
    """
    top = Path(root) if root is not None else source_root([path])
    skipped = [] if skipped is None else skipped
    tree = scan([path], top, selection)
    for collection in tree.collections.values():
        yield from collection_passages(collection, selection)
    skipped += [SkippedFile(display_path(top / name), why) for name, why in tree.skipped.items()]
    for name, file in tree.files.items():
        try:
            content = read_file(file, selection)
            passages = list(file_passages(file, name, content, selection))
        except InputError as reason:
            if file.explicit:
                raise InputError(f"cannot index {path}: {reason}") from None
            skipped.append(SkippedFile(display_path(file.path_on_disk), str(reason)))
            continue
        yield from passages


def read_file(file: SourceFile, selection: Selection) -> bytes:
    """Return a file's content.

    Args:
        file: A file of a scan.
        selection: Its `max_bytes` is the limit; PDF files may be 32 times as large.

    Returns:
        All bytes of the file.

    Raises:
        InputError: If the file is too large, unreadable or not a plain file. The message is the
            reason alone, without the file's name.
    """
    is_pdf = file.path_on_disk.lower().endswith(PDF_SUFFIX)
    limit = selection.max_bytes * (PDF_SIZE_FACTOR if is_pdf else 1)
    return read_bytes(Path(file.path_on_disk), limit)


def file_passages(
    file: SourceFile, path: str, content: bytes, selection: Selection
) -> Iterator[Passage]:
    """Yield the passages of one file.

    Args:
        file: A file of a scan.
        path: Its path as passages state it.
        content: All bytes of the file, see `read_file`.
        selection: How to split the file.

    Yields:
        Passages, from the top of the file to the end.

    Raises:
        InputError: If the content is not text, or if it is generated or a translation catalogue.
            The last two are read if the file is itself a source; translations also if a pattern
            to include names their suffix. The message is the reason alone.
    """
    from .languages import language_of  # only the process that splits files needs these
    from .split import split_document, split_into_passages

    name = PurePosixPath(path)
    as_one = selection.documents == "whole"
    if name.suffix.lower() == PDF_SUFFIX:
        from .pdf import read_pdf

        yield from split_document(*read_pdf(content), path, "pdf", as_one)
        return
    text = decode(content)
    reason = skip_reason(text, name.name, language_of(name, text.partition("\n")[0]))
    wanted = file.explicit or (reason == TRANSLATIONS and selection.includes_suffix(name.suffix))
    if reason and not wanted:
        raise InputError(reason)
    yield from split_into_passages(text, path, as_one)


def collection_passages(file: SourceFile, selection: Selection) -> Iterator[Passage]:
    """Yield the passages of a `.jsonl` collection.

    Each record is one passage, unless the selection says that documents are to be cut. Then the
    first passage of a record has the record's id and the others id#2, id#3 and so on; all have the
    record's id as `document` in their metadata, and `part` counts them from 1.

    Args:
        file: A collection of a scan.
        selection: Its `documents` says whether records are cut.

    Yields:
        Passages in the order of the file.

    Raises:
        InputError: For an invalid line, with its number, and for an id that comes twice.
    """
    for record in read_jsonl(Path(file.path_on_disk)):
        pieces = _split_record(record) if selection.documents == "cut" else []
        if len(pieces) < 2:
            yield record
            continue
        for number, piece in enumerate(pieces, start=1):
            metadata: dict[str, object] = {"document": record.id, "part": number}
            if name := piece.metadata["name"]:
                metadata["name"] = name
            yield replace(
                record,
                id=record.id if number == 1 else f"{record.id}#{number}",
                text=piece.text,
                metadata=record.metadata | metadata,
            )


def _split_record(record: Passage) -> list[Passage]:
    from .prose import find_headings
    from .split import split_document

    lines = record.text.replace("\r\n", "\n").split("\n")
    return list(split_document(lines, list(find_headings(lines, "markdown")), record.id, "text"))
