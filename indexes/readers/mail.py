"""A mail (.eml) → its head, every text in it that a mail program shows, and what is attached; a mailbox → its mails."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import MIMEPart
from email.utils import parsedate_to_datetime
from mimetypes import guess_extension
from pathlib import Path

from indexes.errors import UnreadableFileError
from indexes.readers.office import html_to_markdown
from indexes.readers.text import MAX_WHOLE, Text, decode_text, read_whole

_HEAD = ("From", "To", "Cc", "Date", "Subject")
_MAX_DEPTH = 20  # of mails in mails
_WORDS = re.compile(r"\w+")
_LINK = re.compile(r"\]\([^()\s]*+\)|https?://\S+")
_EVENT = re.compile(r"^(SUMMARY|LOCATION|DTSTART|DTEND|ORGANIZER|ATTENDEE|DESCRIPTION)[^:\n]*:(.*)", re.MULTILINE)
_MOMENT = re.compile(r"\b(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)\d\dZ?")
Attached = list[tuple[str, bytes]]


def read_mail(file: Path) -> tuple[Text, Attached]:
    """The mail's text with its subject and day, and (name, content) of each attachment."""
    attached: Attached = []
    message = message_from_bytes(read_whole(file), policy=policy.default)
    head = _head(message)
    if not head:
        raise UnreadableFileError("The name says mail (.eml), but it has neither sender nor date nor subject.")
    body = "\n\n".join(filter(None, (text.strip() for text in _texts(message, attached))))
    if attached:
        head["Attachments"] = ", ".join(name for name, _ in attached)
    text = f"{_lines(head)}\n\n{body}".strip()
    return Text(text=text, title=head.get("Subject", ""), date=_day(head.get("Date", ""))), attached


def mails_of(file: Path) -> Iterator[bytes]:
    """The mails of a mailbox, one at a time: each begins with a line "From …" after a blank one."""
    mail: list[bytes] = []
    n_bytes, is_blank = 0, True
    with file.open("rb") as lines:
        for line in lines:
            if is_blank and line.startswith(b"From "):
                if mail:
                    yield b"".join(mail)
                mail, n_bytes = [], 0
            elif n_bytes <= MAX_WHOLE:
                mail.append(line.removeprefix(b">") if line.lstrip(b">").startswith(b"From ") else line)
                n_bytes += len(line)
            is_blank = not line.strip()
    if mail:
        yield b"".join(mail)


def _head(message: MIMEPart) -> dict[str, str]:
    return {name: " ".join(str(message[name]).split()) for name in _HEAD if message[name]}


def _lines(head: dict[str, str]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in head.items())


def _texts(part: MIMEPart, attached: Attached, depth: int = 0) -> Iterator[str]:
    """The texts that a mail program shows of `part`, in order; the files in it come to `attached`."""
    kind = part.get_content_type()
    if depth > _MAX_DEPTH:
        return
    if kind == "multipart/alternative":
        versions = [(each, "\n\n".join(_texts(each, attached, depth + 1)).strip()) for each in part.iter_parts()]
        yield _shown([text for each, text in versions if each.get_content_type() != "text/calendar"])
        yield from (text for each, text in versions if each.get_content_type() == "text/calendar")
    elif kind == "message/rfc822":
        for inner in part.iter_parts():
            yield f"Forwarded message\n{_lines(_head(inner))}"
            yield from _texts(inner, attached, depth + 1)
    elif part.is_multipart():
        for each in part.iter_parts():
            yield from _texts(each, attached, depth + 1)
    elif kind == "text/calendar":
        yield _events(_decoded(part))
    elif kind.startswith("text/") and not part.is_attachment() and not part.get_filename():
        text = _decoded(part)
        yield html_to_markdown(text)[0] if kind == "text/html" else text
    else:
        content = part.get_payload(decode=True)
        name = part.get_filename() or f"unnamed{guess_extension(kind) or ''}"
        attached.append((name, content if isinstance(content, bytes) else b""))


def _shown(versions: list[str]) -> str:
    """Of the versions of one text the plain one, which comes first, unless the last (HTML) says something else."""
    texts = [text for text in versions if text]
    if not texts:
        return ""
    plain, html = ({*_WORDS.findall(_LINK.sub(" ", text).lower())} for text in (texts[0], texts[-1]))
    return texts[-1] if 2 * len(html & plain) < len(html) else texts[0]


def _events(calendar: str) -> str:
    """What, where and when, as lines."""
    unfolded = calendar.replace("\n ", "").replace("\\n", " ").replace("\\,", ",").replace("\\;", ";")
    lines = (f"{found[1].capitalize()}: {found[2].strip()}" for found in _EVENT.finditer(unfolded))
    return _MOMENT.sub(r"\1-\2-\3 \4:\5", "\n".join(lines))


def _decoded(part: MIMEPart) -> str:
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes):
        return ""
    charset = part.get_content_charset()
    try:
        text = content.decode(charset) if charset else decode_text(content)
    except (LookupError, ValueError):  # an unknown or a wrong charset
        text = decode_text(content)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _day(date: str) -> str:
    try:
        return parsedate_to_datetime(date).date().isoformat()
    except (ValueError, IndexError, TypeError, OverflowError):
        return ""
