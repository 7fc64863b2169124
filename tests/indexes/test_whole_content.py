"""Nothing of a file is lost in silence: every kind of file that used to lose content gives all of it, or says so."""

import importlib
import io
import json
import re
import time
import zipfile
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docx
import openpyxl
import pytest
import regex
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from fakes import KeywordEncoder, WordTokenizer

from indexes.errors import UnreadableFileError
from indexes.files import open_sources
from indexes.ingest import add_files
from indexes.paths import DataPaths
from indexes.readers.office import format_number
from indexes.readers.pdf import Letter, join_words, line_in_order
from indexes.readers.process import read_documents, read_one
from indexes.splitting import PassageSettings, split_document
from indexes.types import Document


def read(folder: Path, name: str, content: str | bytes) -> list[Document]:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(read_documents(file, name, read_one))


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1252", "Où est la clé ? Elle est près de la fenêtre, à côté du château."),
        ("cp1252", "As refeições não são servidas depois das nove."),
        ("cp1252", "Alla anställda har rätt till tjugofem dagars semester per år."),
        ("cp1252", "Pysäköinti on kielletty tässä kadulla yöllä."),
        ("cp1252", "Lykillinn er undir bláa pottinum við dyrnar hjá ömmu."),
        ("cp1252", "La qualità del caffè è ottima, però il tè è già freddo."),
        ("cp1252", "Møbler må ikke stå på gangen på grund af brandfare."),
        ("cp1252", "El niño mañana irá a la montaña con su compañero."),
        ("cp1252", "He said “don’t” — and the café closed."),
        ("cp1250", "Klucz leży pod niebieską doniczką przy drzwiach wejściowych."),
        ("cp1250", "Schůze začíná v deset hodin, přineste si židle."),
        ("cp1251", "Каждый сотрудник имеет право на отпуск."),
        ("koi8-r", "Ключ лежит под синей вазой у двери."),
        ("cp866", "Ключ лежит под синей вазой у двери."),
        ("cp1253", "Κάθε εργαζόμενος δικαιούται είκοσι πέντε ημέρες άδειας."),
        ("cp1254", "Şirket çalışanları öğle yemeğini bahçede yiyor."),
        ("cp1257", "Susirinkimas prasidės dešimtą valandą, prašome nevėluoti."),
        ("gbk", "员工每年享有二十五天带薪年假。"),
        ("big5", "員工每年享有二十五天帶薪年假。"),
        ("shift_jis", "従業員は年に二十五日の休暇を取ることができます。"),
        ("euc-kr", "모든 직원은 일 년에 이십오 일의 휴가를 받을 수 있습니다."),
        ("utf-16-le", "The spare key is under the blue pot.\nThe code is 4711."),
        ("utf-16-be", "The spare key is under the blue pot.\nThe code is 4711."),
        ("utf-16-le", "Ключ лежит под синей вазой.\n"),
        ("utf-16-be", "员工每年享有二十五天带薪年假。\n未休完的年假可以结转。\n"),
    ],
)
def test_a_text_is_read_in_its_encoding_and_a_guess_is_said(tmp_path: Path, encoding: str, text: str) -> None:
    (document,) = read(tmp_path, "note.txt", text.encode(encoding))
    assert document.text == text
    assert ("encoding" in document.note) == (not encoding.startswith("utf"))
    rows = read(tmp_path, "note.csv", f"note\n{text}".encode(encoding))
    assert {row.note for row in rows} == {document.note}


@pytest.mark.parametrize("content", [b"first\n\x00last line", b"first\n" + bytes(5000) + b"last line"])
def test_a_nul_costs_that_character(tmp_path: Path, content: bytes) -> None:
    (document,) = read(tmp_path, "a.log", content)
    assert document.text == "first\nlast line"
    assert (
        document.note == f"{content.count(0)} character{'s' * (content.count(0) > 1)} without meaning (NUL) left out."
    )


def test_what_no_reader_sees_divides_no_word(tmp_path: Path) -> None:
    assert read(tmp_path, "a.md", "con\u00adfirm\u200bed \ufeffno\ufffete")[0].text == "confirmed note"


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ("Sales 2025\n\nRegion,Sum\nNorth,120\nSouth,80\n", ["Region: North\nSum: 120", "Region: South\nSum: 80"]),
        ("Sales 2025,,\nRegion,Quarter,Sum\nNorth,Q1,120\n", ["Region: North\nQuarter: Q1\nSum: 120"]),
        (
            "name,city\nCook,Lyon,French,a dog\nHal,Oslo\n",
            ["name: Cook\ncity: Lyon\ncolumn 3: French\ncolumn 4: a dog", "name: Hal\ncity: Oslo"],
        ),
        ("tag,tag,,name\na,b,c,d\n", ["tag: a\ntag: b\ncolumn 3: c\nname: d"]),
        ("sep=;\nname;langs\nA;x, y\nB;z\n", ["name: A\nlangs: x, y", "name: B\nlangs: z"]),
        (
            "name;langs\nA;x, y, z\nB;x\nC;u, v\n",
            ["name: A\nlangs: x, y, z", "name: B\nlangs: x", "name: C\nlangs: u, v"],
        ),
        ("item;price\nA;1,50\nB;2,75\n", ["item: A\nprice: 1,50", "item: B\nprice: 2,75"]),
        ('name,said\nA,"He said \\"hi, you\\" twice"\n', ['name: A\nsaid: He said "hi, you" twice']),
        ('name,place\nA,"C:\\dir\\"\nB,C:\\temp\n', ["name: A\nplace: C:\\dir\\", "name: B\nplace: C:\\temp"]),
        ("a|b|c\n1|2,5|3\n", ["a: 1\nb: 2,5\nc: 3"]),
        ("title,text,cure\nJam,Paper stuck,Clean it\n", ["Paper stuck\n\ncure: Clean it"]),
        ("contents,who\nPaper stuck,Mia\n", ["Paper stuck\n\nwho: Mia"]),
    ],
)
def test_no_cell_of_a_table_is_lost(tmp_path: Path, content: str, texts: list[str]) -> None:
    assert [document.text for document in read(tmp_path, "t.csv", content)] == texts


def test_the_lines_above_a_table_are_the_title_of_its_rows(tmp_path: Path) -> None:
    north, south = read(tmp_path, "t.csv", "Company,ACME\n\nRegion,Quarter,Sum\nNorth,Q1,9\nSouth,Q1,8\n")
    assert (north.title, north.text) == ("Company ACME", "Region: North\nQuarter: Q1\nSum: 9")
    assert (south.title, south.text) == ("Company ACME", "Region: South\nQuarter: Q1\nSum: 8")


@pytest.mark.parametrize(
    ("record", "text"),
    [
        ({"text": None, "question": "Fire?", "answer": "Use the stairs"}, "question: Fire?\nanswer: Use the stairs"),
        ({"text": "", "summary": "Payday"}, "summary: Payday"),
        ({"text": {"en": "25 days", "de": "25 Tage"}}, "en: 25 days\nde: 25 Tage"),
        ({"text": ["First.", "Second."], "name": "fire"}, "First.\n\nSecond.\n\nname: fire"),
        ({"id": 7, "title": "Fire", "text": "Run.", "date": "2025-01-02"}, "Run."),
    ],
)
def test_every_field_of_a_record_is_text(tmp_path: Path, record: dict[str, object], text: str) -> None:
    assert read(tmp_path, "r.json", json.dumps([record]))[0].text == text
    assert read(tmp_path, "r.jsonl", json.dumps(record))[0].text == text


HEAD = "From: Mia <m@example.org>\nSubject: Moving\nMIME-Version: 1.0\n"
HTML = "text/html\n\n<p>At <b>seven</b> sharp.</p>\n"
FORWARDED = "message/rfc822\n\nFrom: Rex <r@example.org>\nSubject: Keys\n\nUnder the pot.\n"
EVENT = "text/calendar\n\nSUMMARY:Roof party\nLOCATION:Floor 9\nDTSTART:20251126T100000Z\n"


def parts(kind: str, *each: str) -> str:
    body = "".join(f"--b\nContent-Type: {part}\n" for part in each)
    return f'Content-Type: multipart/{kind}; boundary="b"\n\n{body}--b--\n'


@pytest.mark.parametrize(
    ("content", "there", "note"),
    [
        (parts("alternative", "text/plain\n\n \n", HTML), ["At **seven** sharp."], ""),
        (parts("alternative", "text/plain\n\nNo HTML here.\n", HTML), ["At **seven** sharp."], ""),
        (parts("alternative", "text/plain\n\nAt seven sharp.\n", HTML), ["At seven sharp."], ""),
        (
            parts("mixed", "text/plain\n\nBefore.\n", "image/png; name=x.png\n\nabc\n", "text/plain\n\nGate: 4711.\n"),
            ["Before.", "Gate: 4711.", "Attachments: x.png"],
            "Attached and not read: x.png.",
        ),
        (
            parts("mixed", "text/plain\n\nSee below.\n", FORWARDED),
            ["See below.", "From: Rex", "Subject: Keys", "Under the pot."],
            "",
        ),
        (
            parts("alternative", "text/plain\n\nPlease come.\n", EVENT),
            ["Please come.", "Roof party", "Floor 9", "2025-11-26 10:00"],
            "",
        ),
    ],
)
def test_a_mail_has_every_text_that_is_shown(tmp_path: Path, content: str, there: list[str], note: str) -> None:
    mail, *_ = read(tmp_path, "m.eml", HEAD + content)
    assert [text for text in there if text not in mail.text] == []
    assert mail.text.count("sharp") <= 1
    assert mail.note == note


def test_what_is_attached_to_a_mail_is_a_document_under_it(tmp_path: Path) -> None:
    attached = 'text/csv; name="prices.csv"\nContent-Disposition: attachment\n\nitem,price\nChair,9\nTable,20\n'
    broken = 'application/pdf; name="plan.pdf"\nContent-Disposition: attachment\n\nno pdf\n'
    mail, chair, table = read(tmp_path, "m.eml", HEAD + parts("mixed", "text/plain\n\nHi.\n", attached, broken))
    assert mail.note.startswith("Attachment 'plan.pdf': The name says PDF")
    assert (chair.id, chair.source, chair.text) == ("m.eml#prices.csv:1", "m.eml", "item: Chair\nprice: 9")
    assert table.text == "item: Table\nprice: 20"


def test_a_mailbox_is_its_mails(tmp_path: Path) -> None:
    mails = ("Subject: One\n\nFirst.\n>From the start.\n", "\nNo mail.\n", "Subject: Two\n\nB.\n")
    box = "\n".join(f"From mia Fri\n{mail}" for mail in mails)
    one, two = read(tmp_path, "all.mbox", box)
    assert (one.id, one.title, two.title) == ("all.mbox:1", "One", "Two")
    assert one.text.endswith("First.\nFrom the start.")
    assert two.note.startswith("1 mails could not be read; the first is mail 2: The name says mail (.eml)")


PAGE = """<html><head><title>Hours</title><style>.x{}</style></head><body>
<div class="cookie-banner">We use cookies.</div><nav><ul><li><a href=/>Home</a></li></ul></nav>
<div class="navbar"><a href=/a>Shop</a> <a href=/b>About</a></div><header><img alt=logo></header>
<main><h1>Hours</h1><p>We open at nine.</p><details><summary>More</summary>inside details</details>
<div hidden>ghost one</div><div style="display: none">ghost two</div><template>ghost three</template></main>
<div class="menu"><h2>Lunch</h2><p>Pizza with basil</p></div><div class="cookie-recipe">Mix the flour.</div>
<div id="onetrust-banner-sdk">Our cookies.</div><div class="site-footer">Imprint Ltd.</div>
<div id="onetrust-banner-sdk">Our cookies.</div><div class="site-footer">Imprint Ltd.</div>
<footer>© 2025 Shop Ltd.</footer></body></html>"""


def test_a_page_is_its_content_without_what_frames_or_hides(tmp_path: Path) -> None:
    (page,) = read(tmp_path, "p.html", PAGE)
    there = ["# Hours", "We open at nine.", "More\n", "inside details", "Pizza with basil", "Mix the flour."]
    assert [text for text in there if text not in page.text] == []
    gone = ["cookies.", "Home", "About", "ghost", "Ltd"]
    assert [text for text in gone if text in page.text] == []


READ_WITH = (
    *("indexes.readers.text", "indexes.readers.records", "indexes.readers.mail", "indexes.readers.office"),
    *("indexes.readers.pdf", "indexes.readers.process", "indexes.encodings", "indexes.splitting", "indexes.lexical"),
    *("app.answering", "app.rendering", "distill.prompts", "distill.llm.reply_cache", "distill.teacher.replies"),
)
OF_ONE_PLACE = ("_NUMBER_SHAPE", "_LABEL", "_STEM", "_SEPARATOR_LINE", "_TAG_BEGUN", "_THOUGHT")  # never searched for
RUNS = (
    *("a", " ", "\n", "a ", "a\n", " \n", "1", "-", "=", "|", ".", "。", "中", "हि", "ا", "אב ", "!", '"', "\\", "$"),
    *("[", "![", "![a](", "](", "(", "[$", "[1,", "[1-", "[1†", "[Source 1 ", "(source ", "1 to ", "# ", "```\n", "<"),
    *("<think>", "<f>", "<a:f ", "<mergeCell ", "<f/> ", "<meta ", "a-", "a.", "a\ufffe", "|-", "a|b\n", "---\n", "T1"),
    *("http://", "](x", "aA", "A", "a/", "(a)", "sep=", "SUMMARY", '\\"', "_*", "x\u00ad", "-\n", "….", ": "),
)


def patterns() -> dict[str, re.Pattern[str] | regex.Pattern[str]]:
    """Every pattern that texts of strangers are read with, by name."""
    found = {}
    for module in READ_WITH:
        for name, value in vars(importlib.import_module(module)).items():
            each = [part.pattern for part in value] if name.endswith("_BREAKS") else [value]
            compiled = (part for part in each if isinstance(part, re.Pattern | regex.Pattern))
            found.update({f"{module}.{name}.{number}": pattern for number, pattern in enumerate(compiled)})
    return found


@pytest.mark.parametrize("name", patterns())
def test_no_pattern_goes_back_over_what_it_has_read(name: str) -> None:
    """A file of a million characters would keep its reader busy for hours: four times the text takes four times as
    long, and not sixteen times."""
    pattern = patterns()[name]

    def took(text: str) -> float:
        shown: Any = text.encode() if isinstance(pattern.pattern, bytes) else text
        begun = time.thread_time()
        if name.split(".")[-2] in OF_ONE_PLACE:
            pattern.match(shown)
        else:
            deque(pattern.finditer(shown), 0)
        return time.thread_time() - begun

    for run in RUNS:
        for before, after in (("", ""), ("\n---\n", "\0")):
            few, many = (before + run * (n // len(run)) + after for n in (2_000, 8_000))
            if took(few) > 0.002 and min(took(few), took(few)) > 0.002:
                assert min(took(many) for _ in range(2)) < 10 * max(took(few) for _ in range(3)), repr(run)


def test_a_page_full_of_blanks_and_an_endless_word_are_read_at_once(tmp_path: Path) -> None:
    """Patterns that go back over what they have read take hours here."""
    hostile = "a | b\n" + " " * 200_000 + "\n" + "x" * 200_000 + "-\ny"
    assert split(hostile, "h.md", PassageSettings)
    assert join_words([hostile])[0].endswith("xy")


def test_a_page_of_nothing_but_links_is_kept(tmp_path: Path) -> None:
    assert "Chapter 1" in read(tmp_path, "toc.html", "<nav><a href=/1>Chapter 1</a></nav>")[0].text


def test_a_page_is_read_in_the_encoding_that_it_names(tmp_path: Path) -> None:
    page = '<meta charset="windows-1250"><p>Žluťoučký kůň</p>'.encode("cp1250")
    assert "Žluťoučký kůň" in read(tmp_path, "p.html", page)[0].text


def epub(package: str) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as book:
        book.writestr(
            "META-INF/container.xml", '<c:container xmlns:c="x"><c:rootfile full-path="O/b.opf"/></c:container>'
        )
        book.writestr("O/b.opf", package)
        book.writestr("O/t/one two.xhtml", "<html><body><h1>One</h1><p>It begins.</p></body></html>")
    return written.getvalue()


OPF = (
    '<{0}package xmlns{1}="http://www.idpf.org/2007/opf" xmlns:dc="d"><dc:title>Tale</dc:title><{0}item id="a" '
    'href="t/one%20two.xhtml"/><{0}item id="b" href="gone.xhtml"/><{0}itemref idref="a"/>{2}</{0}package>'
)


@pytest.mark.parametrize("prefix", [("", ""), ("opf:", ":opf")])
def test_an_ebook_is_read_whatever_its_prefixes(tmp_path: Path, prefix: tuple[str, str]) -> None:
    (book,) = read(tmp_path, "b.epub", epub(OPF.format(*prefix, "")))
    assert (book.title, "It begins." in book.text, book.note) == ("Tale", True, "")


def test_a_reader_that_finds_next_to_nothing_in_much_says_so(tmp_path: Path) -> None:
    page = f"<p>Enable it.</p><script>{'x' * 100_000}</script>"
    assert read(tmp_path, "app.html", page)[0].note == "Only 10 characters of text were found in 98 KiB."


def test_of_an_ebook_missing_chapters_are_said_and_an_empty_one_is_not_read(tmp_path: Path) -> None:
    (book,) = read(tmp_path, "b.epub", epub(OPF.format("", "", '<itemref idref="b"/>')))
    assert book.note == "1 of 2 chapters are missing in the file."
    with pytest.raises(UnreadableFileError, match="no chapter with text"):
        read(tmp_path, "c.epub", epub('<package><itemref idref="b"/></package>'))


def test_a_word_document_has_its_fields_headers_and_comments_and_no_hidden_text(tmp_path: Path) -> None:
    document = docx.Document()
    paragraph = document.add_paragraph("See ")
    field = OxmlElement("w:fldSimple")
    field.set(qn("w:instr"), "REF x")
    field.append(paragraph.add_run("section 4")._r)
    paragraph._p.append(field)
    paragraph.add_run(" for it.")
    hidden = document.add_paragraph().add_run("Ghost.")
    hidden.font.hidden = True
    document.sections[0].header.paragraphs[0].text = "Policy 77"
    document.sections[0].footer.paragraphs[0].text = "Version 3"
    document.add_comment(paragraph.runs, text="Ask the lawyers", author="M")
    document.save(str(tmp_path / "p.docx"))
    (read_again,) = read(tmp_path, "p.docx", (tmp_path / "p.docx").read_bytes())
    assert [
        t for t in ("See section 4 for it.", "Policy 77", "Version 3", "Ask the lawyers") if t not in read_again.text
    ] == []
    assert "Ghost" not in read_again.text


def test_a_sheet_has_its_banner_its_merged_labels_and_its_formats(tmp_path: Path) -> None:
    workbook = openpyxl.Workbook()
    sheet = workbook.active
    for row in (["Prices, valid from May"], [], ["Team", "Item", "Code", "Sum"]):
        sheet.append(row)
    for row in (["Sales", "Rent", 7, "=1+2"], [None, "Food", 12, "=3+4"], ["Works", "Tools", 44, 5]):
        sheet.append(row)
    sheet.merge_cells("A4:A5")
    for cell in ("C4", "C5", "C6"):
        sheet[cell].number_format = "00000"
    workbook.save(tmp_path / "b.xlsx")
    (book,) = read(tmp_path, "b.xlsx", (tmp_path / "b.xlsx").read_bytes())
    assert "Prices, valid from May\n\n| Team | Item | Code | Sum |\n| --- " in book.text
    assert "| Sales | Rent | 00007 |  |\n| Sales | Food | 00012 |  |\n| Works | Tools | 00044 | 5 |" in book.text
    assert book.note == "2 formulas have no stored value: open the workbook in Excel and save it."


@pytest.mark.parametrize(
    ("value", "shape", "shown"),
    [
        (7, "00000", "00007"), (0.256, "0.0%", "25.6%"), (0.25, "0%", "25%"), (1234.5, "#,##0.00", "1,234.50"),
        (3, "General", "3"), (3.14159, "General", "3.14159"), (-5, "0.00", "-5.00"), (12, '0 "kg"', "12 kg"),
        (9.5, "[$€-407]0.00", "€9.50"), (1e20, "0", "1e+20"), (2.5, "@", "2.5"), (3.7, "0", "3.7"),
    ],
)  # fmt: skip
def test_a_number_looks_as_its_format_shows_it(value: float, shape: str, shown: str) -> None:
    assert format_number(value, shape) == shown


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("The trans\ufffeaction and the quar\ufffe\nter.", "The transaction and the quarter."),
        ("X\ufffe\nray and self-\nmade", "X-ray and selfmade"),
        ("A state\x02owned firm is state-owned.", "A state-owned firm is state-owned."),
        ("the sub-\nscriber, the Wi-\nFi, COVID-\n19", "the subscriber, the Wi-Fi, COVID-19"),
        ("a con\u00ad\nfirmation", "a confirmation"),
    ],
)
def test_a_word_divided_by_the_end_of_a_line_is_one(page: str, text: str) -> None:
    assert join_words([page]) == [text]


@pytest.mark.parametrize(
    ("seen", "read_as"),
    [
        (".12 רדחב 15:30 העשב הליחתמ השיגפה", "הפגישה מתחילה בשעה 15:30 בחדר 12."),
        ("2.5% וא Microsoft Office 365 םע", "עם Microsoft Office 365 או 2.5%"),
        ("The words בוט םולש mean peace.", "The words שלום טוב mean peace."),
    ],
)
def test_words_from_right_to_left_are_in_reading_order(seen: str, read_as: str) -> None:
    """`seen` is what stands on the page, from its left end to its right."""
    line = [Letter(place, place + 0.9, letter, 0) for place, letter in enumerate(seen) if letter != " "]
    assert line_in_order(line, right_to_left=not seen.startswith("The")) == read_as


PLAIN = (
    "a.yaml",
    "b.sql",
    "c.srt",
    "d.sh",
    "e.xml",
    "f.log",
    "g.tex",
    "h.org",
    "i.tsx",
    "j.cs",
    "k.rb",
    "l.php",
    "m.toml",
)


@pytest.mark.parametrize("name", [*PLAIN, "n.kt", "o.adoc", "p.ini", "q.vtt", "README", "Makefile", "notes v1.2 final"])
def test_whatever_is_plain_text_is_read(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, name, "holiday: 30 days\n")[0].text == "holiday: 30 days\n"


def test_rich_text_and_notebooks_are_their_words(tmp_path: Path) -> None:
    rich = r"{\rtf1\ansi\ansicpg1252{\fonttbl{\f0 Arial;}}\f0 Caf\'e9 \b holiday\b0\par}"
    assert read(tmp_path, "p.rtf", rich)[0].text.strip() == "Café holiday"
    cells = [
        {"cell_type": "markdown", "source": ["# Plan\n", "We count."]},
        {"cell_type": "code", "source": "n = 1", "outputs": [{"text": ["one\n"]}, {"data": {"image/png": "AAAA"}}]},
    ]
    assert read(tmp_path, "n.ipynb", json.dumps({"cells": cells}))[0].text == (
        "# Plan\nWe count.\n\n```\nn = 1\n```\n\n```\none\n```"
    )


def test_what_is_passed_over_is_counted_by_type(paths: DataPaths, encoder: KeywordEncoder, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    for name, content in {
        "a.txt": b"hi",
        "old.doc": b"\xd0\xcf",
        "x.bin": bytes(range(256)),
        "y.BIN": b"\x00\x01",
    }.items():
        (folder / name).write_bytes(content)
    (folder / "link.txt").symlink_to(folder / "a.txt")
    outcomes = [event.outcome for event in add_files(paths, "c", [folder], encoder) if event.outcome]
    assert [(each.source, each.status, each.reason) for each in outcomes] == [
        ("docs/a.txt", "read", ""),
        ("docs", "skipped", "4 files passed over: .bin 2, .doc 1, .txt 1"),
    ]


@pytest.mark.parametrize(
    ("encoding", "name"),
    [("gbk", "请假制度.txt"), ("cp932", "休暇規定.txt"), ("cp949", "휴가규정.txt"), ("cp866", "Договор.txt"),
     ("cp850", "Übersicht.txt"), ("cp852", "Příloha.txt"), ("utf-8", "请假制度-Übersicht.txt")],
)  # fmt: skip
def test_names_in_an_archive_are_as_they_were(tmp_path: Path, encoding: str, name: str) -> None:
    stand_in = "x" * len(name.encode(encoding))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(stand_in, "hi")
    packed = (tmp_path / "a.zip").read_bytes().replace(stand_in.encode(), name.encode(encoding))
    (tmp_path / "a.zip").write_bytes(packed)
    with open_sources([tmp_path / "a.zip"]) as (file,), file.on_disk() as path:
        assert (file.source, path.read_text()) == (f"a.zip/{name}", "hi")


def split(text: str, name: str, how: Callable[[], PassageSettings]) -> list[tuple[str, str]]:
    document = Document(id=name, source=name, text=text, title="t")
    return [(passage.title, passage.text) for passage in split_document(document, WordTokenizer(), how())]


@pytest.mark.parametrize("run", ["QUJD" * 5000, "สวัสดี" * 1000, "-" * 20_000, "漢" * 9000])
def test_a_passage_is_bounded_in_characters(run: str) -> None:
    found = split(f"Certificate begins.\n\n{run}\n\nEnd of it.", "c.txt", PassageSettings)
    assert max(len(text) for _, text in found) < 6000
    assert found[0][1].startswith("Certificate begins.") and found[-1][1].endswith("End of it.")


def test_a_table_without_outer_bars_carries_the_names_of_its_columns() -> None:
    rows = "".join(f"Chair {number} | red | {number}\n" for number in range(60))
    text = f"# Prices\n\nArticle | Colour | Price\n--- | :---: | ---\n{rows}\nEnd.\n"
    first, *others = split(text, "p.md", lambda: PassageSettings(max_tokens=60))
    assert len(others) > 2
    assert {title for title, _ in others} == {"Prices › Article, Colour, Price"}
    assert first[1].startswith("Article | Colour")
