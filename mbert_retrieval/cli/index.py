"""`mbert-index`: make and maintain an index."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import InputError
from . import locate
from .build_options import DEFAULT_ENCODER, NO_ENCODER, BuildOptions, SelectionOptions
from .console import BAD_INPUT, message, new_app, one_line, print_json, run
from .options import FILE_PATH, json_lines, near_index
from .sync_sources import add_sources, build_index, skipped_files, update_index

if TYPE_CHECKING:
    from ..index import Index
    from ..indexes import IndexFolder
    from ..sync.passages import Changes

app = new_app("mbert-index", "Make and maintain an index of code, text or a collection.")

source_arguments = click.argument(
    "sources",
    nargs=-1,
    required=True,
    type=FILE_PATH,
    metavar="SOURCE...",
    help="A folder of code and text, a file, a .jsonl collection, or a BEIR folder.",
)
list_skipped = click.option(
    "--list-skipped",
    "--verbose",
    "-v",
    "verbose",
    is_flag=True,
    help="List the files that were skipped, with the reasons.",
)


@app.command()
@source_arguments
@click.option(
    "--index",
    type=FILE_PATH,
    metavar="DIR",
    help="Folder of the index. Default: .mbert at the top of the repository, "
    "else in the folder SOURCE.",
)
@click.option(
    "--encoder",
    metavar="NAME",
    help=f"{DEFAULT_ENCODER} (the default), a folder, the name of a model on the hub, "
    f"or {NO_ENCODER} for BM25 alone.",
)
@click.option(
    "--head",
    metavar="HEAD",
    help="late: one vector per token; dense: one per passage; both. "
    "Default: what the encoder has, late if it has both.",
)
@click.option(
    "--kind",
    metavar="KIND",
    help="plaid (compressed, for late), faiss (for dense), or flat (exact). "
    "Default: plaid and faiss, which are exact while the index is small.",
)
@click.option(
    "--nbits",
    type=int,
    metavar="BITS",
    help="plaid: 1, 2, 4 (the default) or 8 bits per dimension.",
)
@click.option(
    "--centroids", type=int, metavar="N", help="plaid: number of centroids. Default: by size."
)
@click.option(
    "--faiss",
    metavar="FACTORY",
    help="faiss: an index_factory string such as IVF1024,SQ8. Default: by size.",
)
@click.option(
    "--device",
    metavar="DEVICE",
    help="plaid: torch device that clusters the vectors, for example cuda. Default: the "
    "processor. (The encoder uses a GPU by itself where there is one.)",
)
@click.option(
    "--lexical/--no-lexical",
    default=None,
    help="With BM25 beside the vectors (the default).",
)
@click.option(
    "--include",
    multiple=True,
    metavar="GLOB",
    help="Index only files that match, as in .gitignore.",
)
@click.option(
    "--exclude",
    multiple=True,
    metavar="GLOB",
    help="Skip files and folders that match, as in .gitignore.",
)
@click.option("--max-bytes", type=int, metavar="BYTES", help="Skip larger files. Default: 1 MiB.")
@click.option(
    "--whole/--cut",
    default=None,
    help="Take each document as one passage, or cut it. Default: cut files, not records.",
)
@click.option(
    "--rebuild",
    is_flag=True,
    help="Build the index anew, as if there were none, and replace it once the new one is whole. "
    "For one that is damaged, or that somebody else made.",
)
@json_lines
@list_skipped
@click.pass_context
def build(
    context: click.Context,
    sources: tuple[Path, ...],
    index: Path | None,
    encoder: str | None,
    head: str | None,
    kind: str | None,
    nbits: int | None,
    centroids: int | None,
    faiss: str | None,
    device: str | None,
    lexical: bool | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    max_bytes: int | None,
    whole: bool | None,
    rebuild: bool,
    json: bool,
    verbose: bool,
) -> None:
    """Make an index of the sources, or bring it in sync with them.

    Run again, it reads only new and changed files, and deletes passages that are no longer in the
    sources; passages that came from no source stay. After an interruption it continues where it
    stopped.
    """
    from ..indexes.device import on_device

    started = time.perf_counter()
    context.with_resource(on_device(device))
    target, changes = build_index(
        list(sources),
        index,
        BuildOptions(encoder, head, kind, nbits, centroids, faiss, lexical),
        SelectionOptions(include, exclude, max_bytes, whole),
        rebuild,
    )
    _report(target, changes, started, json, verbose)


@app.command()
@source_arguments
@near_index
@json_lines
@list_skipped
def add(sources: tuple[Path, ...], index: Path | None, json: bool, verbose: bool) -> None:
    """Add more sources to an index; passages that exist and differ are replaced."""
    started = time.perf_counter()
    target = _open_to_change(index)
    _report(target, add_sources(target, list(sources)), started, json, verbose)


@app.command()
@near_index
@json_lines
@list_skipped
def update(index: Path | None, json: bool, verbose: bool) -> None:
    """Bring the index in sync with its sources: only changed files are read.

    What cannot be read keeps its passages, and so does a source that is missing or became empty:
    build makes sure of the latter. Passages that came from no source stay.
    """
    started = time.perf_counter()
    target = _open_to_change(index)
    _report(target, update_index(target), started, json, verbose)


@app.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...", help="Ids of passages.")
@near_index
@json_lines
def delete(ids: tuple[str, ...], index: Path | None, json: bool) -> None:
    """Delete passages by id: all of them, or none where one does not exist.

    A passage of a source comes back when its file changes, or with the next update.
    """
    target = _open_to_change(index)
    deleted = target.delete(list(ids))
    if json:
        print_json({"index": str(target.path), "deleted": deleted})
    else:
        print(f"{one_line(str(target.path))}: {deleted:,} passages deleted")


@app.command()
@near_index
@click.option("--skipped", is_flag=True, help="List the skipped files, with the reasons.")
@json_lines
def info(index: Path | None, skipped: bool, json: bool) -> None:
    """Show what an index holds, how it was made, and its size."""
    from .index_info import index_facts, print_facts

    folder = _open_folder(index)
    if skipped:
        for file in skipped_files(folder):
            print_json(file) if json else print(one_line(f"{file['path']}: {file['reason']}"))
        return
    facts = index_facts(folder)
    if json:
        print_json(facts)
    else:
        print_facts(facts, folder)


@app.command()
@near_index
@json_lines
def compact(index: Path | None, json: bool) -> None:
    """Rewrite the index as one segment, without deleted passages. Searches go on meanwhile."""
    target = _open_to_change(index)
    before = target.folder.info()["bytes"]
    replaced = target.compact()
    after = target.folder.info()["bytes"]
    path = str(target.path)
    if json:
        print_json({"index": path, "replaced": replaced, "bytes": after, "bytes_before": before})
    else:
        print(f"{one_line(path)}: {replaced:,} segments replaced, {before:,} bytes to {after:,}")


@app.command()
@click.argument("folder", type=FILE_PATH, metavar="DIR", help="Folder for the files.")
@near_index
@click.option("--force", is_flag=True, help="Replace existing files.")
@json_lines
def export(folder: Path, index: Path | None, force: bool, json: bool) -> None:
    """Write passages and vectors as parquet files."""
    files = _open_folder(index).export(folder, force)
    if json:
        print_json({"files": [str(file) for file in files]})
    else:
        for file in files:
            print(one_line(str(file)))


@app.command()
@near_index
@json_lines
def verify(index: Path | None, json: bool) -> None:
    """Check every byte of an index. Prints one line per problem; exit code 2 if there is one."""
    folder = _open_folder(index)
    problems = folder.verify()
    if json:
        print_json({"index": str(folder.path), "whole": not problems, "problems": problems})
    else:
        for line in problems or [f"{folder.path}: no problems found"]:
            print(one_line(line))
    if problems:
        raise click.exceptions.Exit(BAD_INPUT)


@app.command()
@click.argument(
    "index",
    required=False,
    type=FILE_PATH,
    metavar="[INDEX]",
    help="Folder of the index. Default: the nearest .mbert from here upward.",
)
@click.option("--revoke", is_flag=True, help="No longer trust it.")
def trust(index: Path | None, revoke: bool) -> None:
    """Trust an index that somebody else made, or that was moved.

    Before, it is only searched. From then on a query reads the source folders that it records, and
    loads the encoder that it names. An index that you made on this machine is trusted.
    """
    from ..indexes.trust import record_trust
    from ..indexes.trust import revoke as revoke_trust
    from .index_info import recorded_wishes

    folder = _open_folder(index)
    path, index_id = folder.path, folder.manifest.index_id
    shown = one_line(str(path))
    if revoke:
        was_trusted = revoke_trust(path, index_id)
        print(f"{shown}: no longer trusted" if was_trusted else f"{shown}: was not trusted")
        return
    try:
        record_trust(path, index_id)
    except OSError as error:
        raise InputError(f"cannot record that {path} is trusted: {error}") from None
    print(f"{shown}: trusted; {recorded_wishes(folder)}")


def _open_to_change(index: Path | None) -> Index:
    from ..index import Index

    target = Index.open(locate.index_from_here(index))
    target.folder.check_trusted("it is not changed")
    return target


def _open_folder(index: Path | None) -> IndexFolder:
    from ..indexes import IndexFolder

    return IndexFolder.open(locate.index_from_here(index))


def _report(index: Index, changes: Changes, started: float, json: bool, verbose: bool) -> None:
    skipped = skipped_files(index.folder)
    if verbose:
        for file in skipped:
            message(f"skipped {file['path']}: {file['reason']}")
    seconds = round(time.perf_counter() - started, 3)
    if json:
        facts: dict[str, Any] = {"index": str(index.path), "passages": len(index)}
        print_json(facts | asdict(changes) | {"skipped": skipped, "seconds": seconds})
        return
    counts = [f"{count:,} {what}" for what, count in asdict(changes).items() if count]
    path = one_line(str(index.path))
    print(f"{path}: {len(index):,} passages ({', '.join(counts)}) in {seconds:.1f} s")
    if skipped and not verbose:
        message(f"{len(skipped):,} files were skipped; --list-skipped lists them")


def main() -> None:
    run(app)


if __name__ == "__main__":
    main()
