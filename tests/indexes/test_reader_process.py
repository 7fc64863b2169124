"""A file that hangs or crashes its reader costs that file alone."""

import os
import signal
import subprocess
import sys
import time
import zlib
from contextlib import closing
from io import BytesIO
from pathlib import Path
from threading import Thread

import pypdfium2
import pytest
from PIL import Image, ImageOps

from benchmarks.sample_files import pdf_bytes
from indexes.errors import UnreadableFileError
from indexes.processes import Child
from indexes.readers.process import ReaderProcess, read_documents, read_one


def endless_pdf(file: Path, *, depth: int = 9, breadth: int = 10) -> Path:
    """A PDF of one page whose form contains ten times another one, which contains ten times another one …"""
    last = 4 + depth
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] /Contents 4 0 R "
        b"/Resources << /XObject << /F 5 0 R >> >> >>",
    ]
    for number in range(4, last + 1):
        content = zlib.compress(b"/F Do " * breadth)
        inner = f"/Resources << /XObject << /F {number + 1} 0 R >> >>" if number < last else ""
        kind = f"/Type /XObject /Subtype /Form /BBox [0 0 99 99] {inner}" if number > 4 else ""
        head = f"<< {kind} /Filter /FlateDecode /Length {len(content)} >>\nstream\n".encode()
        objects.append(head + content + b"\nendstream")
    body, places = b"%PDF-1.7\n", []
    for number, written in enumerate(objects, start=1):
        places.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, written)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"xref\n0 %d\n0000000000 65535 f \n%strailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF"
    file.write_bytes(body + end % (len(places) + 1, table, len(places) + 1, len(body)))
    return file


@pytest.fixture
def cats(tmp_path: Path) -> Path:
    file = tmp_path / "cats.pdf"
    file.write_bytes(pdf_bytes(["Cats purr.", "", "Dogs bark."]))
    return file


@pytest.mark.slow
def test_a_pdf_that_keeps_its_reader_busy_is_given_up_and_the_next_one_is_read(tmp_path: Path, cats: Path) -> None:
    reader = ReaderProcess(limit_s=6)
    with pytest.raises(UnreadableFileError, match=r"more than 6 seconds.*damaged, or made to be slow"):
        list(read_documents(endless_pdf(tmp_path / "endless.pdf"), "endless.pdf", reader.read))
    assert list(read_documents(cats, "cats.pdf", reader.read)) == list(read_documents(cats, "cats.pdf", read_one))


def test_a_reader_that_dies_costs_the_file_that_it_reads(tmp_path: Path, cats: Path) -> None:
    reader = ReaderProcess(limit_s=60)
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    if not children.exists():
        pytest.skip("the reader's process is found in /proc")
    before = set(children.read_text().split())

    def kill() -> None:
        while not (new := set(children.read_text().split()) - before):
            time.sleep(0.01)
        os.kill(int(new.pop()), signal.SIGSEGV)

    killer = Thread(target=kill)
    killer.start()
    with pytest.raises(UnreadableFileError, match="The reader failed on the file"):
        reader.read(endless_pdf(tmp_path / "endless.pdf"), "endless.pdf")
    killer.join()
    assert reader.read(cats, "cats.pdf")[0].text.startswith("Cats purr.")


@pytest.mark.parametrize("change", ["", "turned", "cropped", "vast"])
def test_a_page_is_drawn_small_with_its_words_where_they_stand(tmp_path: Path, cats: Path, change: str) -> None:
    with closing(pypdfium2.PdfDocument(cats)) as pdf:
        page = pdf[2]
        if change == "turned":
            page.set_rotation(90)
        elif change == "cropped":
            page.set_cropbox(20, 500, 300, 842)
        elif change == "vast":
            page.set_mediabox(0, 0, 2000, 842)
        pdf.save(tmp_path / "changed.pdf")
    (drawn,) = ReaderProcess(60).draw(tmp_path / "changed.pdf", 3, "Dogs bark.")
    assert drawn.width <= 1100 and drawn.height <= 1600
    (mark,) = drawn.marks
    picture = Image.open(BytesIO(drawn.webp)).convert("L")
    ink = ImageOps.invert(picture).point(lambda level: 255 * (level > 100)).getbbox()
    assert ink is not None
    left, top, width, height = (share * side for share, side in zip(mark, (drawn.width, drawn.height) * 2, strict=True))
    assert ink == pytest.approx((left, top, left + width, top + height), abs=12)


def test_a_page_that_is_not_there_is_refused_in_a_sentence(cats: Path) -> None:
    with pytest.raises(UnreadableFileError, match="The reader failed on the file"):
        ReaderProcess(60).draw(cats, 9, "Dogs bark.")


def test_what_the_process_reads_and_refuses_is_what_is_read_and_refused_here(tmp_path: Path, cats: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<title>Größe \U0001f600</title><h1>Cats\u2028</h1><p>purr \ud800</p>", "utf-8", "surrogatepass")
    reader = ReaderProcess()
    for file in (cats, page):
        assert reader.read(file, file.name) == read_one(file, file.name)
    scanned = tmp_path / "scanned.pdf"
    scanned.write_bytes(pdf_bytes(["", ""]))
    for read in (reader.read, read_one):
        with pytest.raises(UnreadableFileError, match=r"2 pages and no text"):
            read(scanned, "scanned.pdf")


def test_an_add_lets_no_stranger_s_pdf_into_its_own_process(cats: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from indexes.readers.process import read_documents\n"
        f"print(len(list(read_documents(Path({str(cats)!r}), 'cats.pdf'))), 'pypdfium2' in sys.modules)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.stdout == "1 False\n", done.stderr


def test_what_breaks_into_a_reader_finds_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    child = Child("indexes.readers.process")
    file, deadline = Path(f"/proc/{child._process.pid}/environ"), time.monotonic() + 30
    while not (environment := file.read_bytes()) and time.monotonic() < deadline:
        time.sleep(0.01)  # it is empty while the program is put in place
    child.end()
    assert b"LANG=" in environment and b"sk-secret" not in environment
