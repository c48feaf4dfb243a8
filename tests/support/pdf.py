"""Write small PDF files by hand."""

from __future__ import annotations

import io
import zlib


def pdf(
    pages: list[list[str]], outline: list[tuple[str, int]] = (), deflated: bool = False
) -> bytes:
    """A PDF written by hand: lines of text a page, and entries (title, page) of its outline."""
    first, count = 4, len(pages)
    objects = {3: b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"}
    kids = " ".join(f"{first + 2 * n} 0 R" for n in range(count))
    objects[2] = f"<< /Type /Pages /Kids [{kids}] /Count {count} >>".encode()
    for number, lines in enumerate(pages):
        shown = " ".join(f"({line}) Tj 0 -20 Td" for line in lines)
        stream = f"BT /F1 12 Tf 72 720 Td {shown} ET".encode("latin-1")
        packing = b""
        if deflated:
            stream, packing = zlib.compress(stream), b"/Filter /FlateDecode "
        page = first + 2 * number
        objects[page] = (
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {page + 1} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>"
        ).encode()
        head = b"<< %b/Length %d >>" % (packing, len(stream))
        objects[page + 1] = head + b"\nstream\n" + stream + b"\nendstream"
    after = first + 2 * count
    catalogue = "/Type /Catalog /Pages 2 0 R"
    if outline:
        last = after + len(outline)
        catalogue += f" /Outlines {after} 0 R"
        objects[after] = (
            f"<< /First {after + 1} 0 R /Last {last} 0 R /Count {len(outline)} >>".encode()
        )
        for number, (title, page) in enumerate(outline, start=after + 1):
            following = f"/Next {number + 1} 0 R " if number < last else ""
            objects[number] = (
                f"<< /Title ({title}) /Parent {after} 0 R {following}"
                f"/Dest [{first + 2 * page} 0 R /Fit] >>"
            ).encode()
    objects[1] = f"<< {catalogue} >>".encode()
    file = io.BytesIO()
    file.write(b"%PDF-1.4\n")
    places = []
    for number in sorted(objects):
        places.append(file.tell())
        file.write(b"%d 0 obj\n%b\nendobj\n" % (number, objects[number]))
    table = file.tell()
    file.write(b"xref\n0 %d\n0000000000 65535 f \n" % (len(places) + 1))
    file.writelines(b"%010d 00000 n \n" % place for place in places)
    file.write(b"trailer << /Size %d /Root 1 0 R >>\n" % (len(places) + 1))
    file.write(b"startxref\n%d\n%%%%EOF\n" % table)
    return file.getvalue()
