"""`mbert-index`: make an index and look after it."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from ..sources.selection import EVERYTHING, Selection
from ..sync.provenance import is_cut_alike, recorded, remembered, selection, settings_of
from . import locate
from .build_options import DEFAULT_ENCODER, NO_ENCODER, Asked
from .console import BAD_INPUT, message, new_app, print_json, run, visible
from .syncing import bring, check_collections, skipped_files, survey
from .worktrees import seed

if TYPE_CHECKING:
    from ..index import Index
    from ..sync.passages import Changes

app = new_app("Make an index of code, text or a collection, and look after it.")

SourceArguments = Annotated[
    list[Path],
    typer.Argument(
        metavar="SOURCE...",
        help="A folder of code and text, a file, a .jsonl collection, or a BEIR folder.",
    ),
]
MadeIndex = Annotated[
    Path | None,
    typer.Option(
        "--index",
        metavar="DIR",
        help="The index. Default: .mbert at the repository's top, else in the folder SOURCE.",
    ),
]
NearIndex = Annotated[
    Path | None,
    typer.Option(
        "--index", metavar="DIR", help="The index. Default: the nearest .mbert from here upward."
    ),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print one JSON object a line and nothing else.")
]
Verbose = Annotated[
    bool,
    typer.Option("--list-skipped", "--verbose", "-v", help="List the files that were left out."),
]
Include = Annotated[
    list[str] | None,
    typer.Option("--include", metavar="GLOB", help="Only such files, as in .gitignore."),
]
Exclude = Annotated[
    list[str] | None,
    typer.Option("--exclude", metavar="GLOB", help="No such files or folders, as in .gitignore."),
]


@app.command()
def build(
    context: typer.Context,
    sources: SourceArguments,
    index: MadeIndex = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help=f"{DEFAULT_ENCODER} (the default), a folder, a model of the hub, "
            f"or {NO_ENCODER} for BM25 alone.",
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(
            metavar="HEAD",
            help="late: a vector for each token; dense: one a passage; both. "
            "Default: what the encoder has, late if it has both.",
        ),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help="plaid (compressed, for late), faiss (for dense), or flat (exact). "
            "Default: plaid and faiss, which are exact while the index is small.",
        ),
    ] = None,
    nbits: Annotated[
        int | None,
        typer.Option(metavar="BITS", help="plaid: 1, 2, 4 (the default) or 8 bits a dimension."),
    ] = None,
    centroids: Annotated[
        int | None, typer.Option(metavar="N", help="plaid: how many. Default: by size.")
    ] = None,
    faiss: Annotated[
        str | None,
        typer.Option(
            metavar="FACTORY",
            help="faiss: the index in its factory's notation, as IVF1024,SQ8. Default: by size.",
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="DEVICE",
            help="plaid: a torch device, as cuda, that clusters the vectors. Default: the "
            "processor. (The encoder takes a GPU by itself where there is one.)",
        ),
    ] = None,
    lexical: Annotated[
        bool | None,
        typer.Option("--lexical/--no-lexical", help="With BM25 beside the vectors, the default."),
    ] = None,
    include: Include = None,
    exclude: Exclude = None,
    max_bytes: Annotated[
        int | None,
        typer.Option(metavar="BYTES", help="Larger files are skipped. Default: 1 MiB."),
    ] = None,
    whole: Annotated[
        bool | None,
        typer.Option(
            "--whole/--cut",
            help="Documents as one passage each, or cut. Default: files cut, records not.",
        ),
    ] = None,
    json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Make the index hold just what the sources hold now.

    Run again it brings the index up to date: what is unchanged is not read anew, what has gone from
    the sources goes from the index. After an interruption it goes on where it stopped.
    """
    from ..index import is_there
    from ..indexes import IndexFolder
    from ..indexes.device import on_device

    started = time.perf_counter()
    asked = Asked(encoder, head, kind, nbits, centroids, faiss, lexical)
    asked.check(sources)
    context.with_resource(on_device(device))
    place = locate.index_for_sources(sources, index)
    if index is None and asked.is_default and whole is None:
        seed(place)
    if is_there(place):
        settings = IndexFolder.open(place).settings
        chosen = _chosen(selection(settings), include, exclude, max_bytes, whole)
        target = asked.existing(place, chosen.documents == "whole")
        again = not is_cut_alike(settings) or chosen != selection(settings)
        tree = survey(sources, None, chosen, again)
        again = again or remembered(settings, place)[1] != tree.root
        if index is None:
            locate.check_same_sources(settings, place, tree.sources)
        check_collections(tree, target, again)
    else:
        from ..index import Index

        chosen = _chosen(EVERYTHING, include, exclude, max_bytes, whole)
        loaded = asked.load(chosen.documents == "whole")
        tree = survey(sources, None, chosen, True)
        check_collections(tree, None, True)
        target = Index.create(
            place,
            loaded,
            kind=asked.kinds,
            engine=asked.engine,
            lexical=lexical is not False,
            settings=settings_of(tree, place),
        )
        again = False
        if index is None:
            (place / ".gitignore").write_text("*\n")
    changes = bring(target, tree, "all", again)
    target.remember(settings_of(tree, place))
    _report(target, changes, started, json, verbose)


@app.command()
def add(
    sources: SourceArguments,
    index: NearIndex = None,
    json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Add more sources to an index; passages that it has already and that differ are replaced."""
    started = time.perf_counter()
    target = _open(index)
    place = target.folder.path
    settings = target.folder.settings
    before, root = remembered(settings, place)
    tree = survey(sources, root, selection(settings), True)
    check_collections(tree, target, False)
    if before:
        together = list(dict.fromkeys([*before, *tree.sources]))
        target.remember(settings | recorded(together, tree.root, place))
    changes = bring(target, tree, "nothing", False)
    _report(target, changes, started, json, verbose)


@app.command()
def update(index: NearIndex = None, json: AsJson = False, verbose: Verbose = False) -> None:
    """Bring the index up to date with its sources: only files that changed are read."""

    started = time.perf_counter()
    target = _open(index)
    place, settings = target.folder.path, target.folder.settings
    sources, root = remembered(settings, place)
    if not sources:
        raise InputError(
            f"the index {target.folder.path} remembers no sources: use mbert-index build or add"
        )
    again = not is_cut_alike(settings)
    tree = survey(sources, root, selection(settings), again)
    check_collections(tree, target, again)
    changes = bring(target, tree, "all", again)
    if again:
        target.remember(settings_of(tree, place))
    _report(target, changes, started, json, verbose)


@app.command()
def delete(
    ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of passages.")],
    index: NearIndex = None,
    json: AsJson = False,
) -> None:
    """Delete passages by id: all of them, or none when one is not there."""
    target = _open(index)
    deleted = target.delete(ids)
    if json:
        print_json({"index": str(target.folder.path), "deleted": deleted})
    else:
        print(f"{visible(str(target.folder.path))}: {deleted:,} passages deleted")


@app.command()
def info(
    index: NearIndex = None,
    skipped: Annotated[
        bool, typer.Option("--skipped", help="List the files that gave no passages, and why.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Say what an index is and holds."""
    target = _open(index)
    if skipped:
        for file in skipped_files(target, target.folder.path):
            print_json(file) if json else print(visible(f"{file['path']}: {file['reason']}"))
        return
    facts = target.folder.info()
    facts["bytes_by_part"] = _bytes_by_part(target.folder.path)
    facts["bytes"] = sum(facts["bytes_by_part"].values())
    if json:
        print_json(facts)
        return
    sources, _ = remembered(facts["settings"], target.folder.path)
    lines = {"index": facts["path"], "passages": f"{facts['passages']:,}"}
    lines["segments"] = f"{facts['segments']:,}, {facts['tombstones']:,} deleted passages in them"
    for name, leg in facts["legs"].items():
        engines = Counter(_engine(engine) for engine in leg["engines"])
        lines[name] = (
            f"{leg['encoder']['name']}, {leg['vectors']:,} vectors of "
            f"{leg['encoder']['dimension']} dimensions"
            + (f", {leg['bytes_per_vector']} bytes each" if leg["vectors"] else "")
        )
        held = ", ".join(f"{count} x {engine}" for engine, count in engines.items())
        lines[f"{name} kind"] = leg["kind"] + (f": {held}" if held else "")
    lines |= {
        "lexical": "BM25" if facts["lexical"] else "none",
        "created": f"{facts['created']} by {facts['created_by']}",
        "bytes": f"{facts['bytes']:,} ("
        + ", ".join(f"{part} {size:,}" for part, size in facts["bytes_by_part"].items())
        + ")",
        "sources": ", ".join(map(str, sources)) or "not recorded",
    }
    for name, value in lines.items():
        print(f"{name:<10} {visible(value)}")


@app.command()
def compact(index: NearIndex = None, json: AsJson = False) -> None:
    """Write the index anew as one segment, without what was deleted. Searches go on meanwhile."""
    target = _open(index)
    before = target.folder.info()["bytes"]
    replaced = target.compact()
    after = target.folder.info()["bytes"]
    path = str(target.folder.path)
    if json:
        print_json({"index": path, "replaced": replaced, "bytes": after, "bytes_before": before})
    else:
        print(f"{visible(path)}: {replaced:,} segments replaced, {before:,} bytes to {after:,}")


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the files are written.")],
    index: NearIndex = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    json: AsJson = False,
) -> None:
    """Write passages and vectors as parquet files."""
    files = _open(index).folder.export(folder, force)
    if json:
        print_json({"files": [str(file) for file in files]})
    else:
        for file in files:
            print(visible(str(file)))


@app.command()
def verify(index: NearIndex = None, json: AsJson = False) -> None:
    """Read every byte of an index and check it; exit code 2 and a line for each problem."""
    target = _open(index)
    problems = target.folder.verify()
    if json:
        path = str(target.folder.path)
        print_json({"index": path, "whole": not problems, "problems": problems})
    else:
        for line in problems or [f"{target.folder.path}: whole"]:
            print(visible(line))
    if problems:
        raise typer.Exit(BAD_INPUT)


def _open(index: Path | None) -> Index:
    from ..index import Index

    return Index.open(locate.index_from_here(index))


def _chosen(
    default: Selection,
    include: list[str] | None,
    exclude: list[str] | None,
    max_bytes: int | None,
    whole: bool | None,
) -> Selection:
    """What was given, else what the index has."""
    return Selection(
        tuple(include) if include else default.include,
        tuple(exclude) if exclude else default.exclude,
        default.max_bytes if max_bytes is None else max_bytes,
        default.documents if whole is None else "whole" if whole else "cut",
    )


def _report(target: Index, changes: Changes, started: float, json: bool, verbose: bool) -> None:
    path, total = str(target.folder.path), len(target.folder)
    skipped = skipped_files(target, target.folder.path)
    if verbose:
        for file in skipped:
            message(f"skipped {file['path']}: {file['reason']}")
    seconds = round(time.perf_counter() - started, 3)
    if json:
        facts: dict[str, Any] = {"index": path, "passages": total, **asdict(changes)}
        print_json(facts | {"skipped": skipped, "seconds": seconds})
        return
    parts = [f"{count:,} {what}" for what, count in asdict(changes).items() if count]
    print(f"{visible(path)}: {total:,} passages ({', '.join(parts)}) in {seconds:.1f} s")
    if skipped and not verbose:
        message(f"{len(skipped):,} files were skipped; --list-skipped lists them")


def _engine(facts: dict[str, Any]) -> str:
    rest = ", ".join(f"{key} {value}" for key, value in facts.items() if key != "engine")
    return facts["engine"] + (f" ({rest})" if rest else "")


def _bytes_by_part(path: Path) -> dict[str, int]:
    """Bytes of the vectors, of the passages with their lexical part, and of the rest; a file with
    several names (hard links) counts once."""
    sizes = {"vectors": 0, "passages": 0, "other": 0}
    seen: set[tuple[int, int]] = set()
    for file in path.rglob("*"):
        top = file.relative_to(path).parts[0]
        if not file.is_file() or top.endswith("-shm"):  # SQLite's, there while it is open
            continue
        stored = "passages" if top.startswith("store.sqlite") else "other"
        with suppress(FileNotFoundError):  # a writer tidies up meanwhile
            facts = file.stat()
            if (facts.st_dev, facts.st_ino) not in seen:
                seen.add((facts.st_dev, facts.st_ino))
                sizes["vectors" if top == "segments" else stored] += facts.st_size
    return sizes


def main() -> None:
    run(app)


if __name__ == "__main__":
    main()
