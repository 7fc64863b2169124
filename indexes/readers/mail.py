"""A mail (.eml) → its head and body; the body's plain text if it has one, otherwise its HTML."""

from __future__ import annotations

from email import message_from_bytes, policy
from email.message import EmailMessage
from email.utils import parsedate_to_datetime
from pathlib import Path

from indexes.errors import UnreadableFileError
from indexes.readers.office import html_to_markdown
from indexes.readers.text import decode_text, read_whole

_HEAD = ("From", "To", "Cc", "Date", "Subject")
_NOT_A_MAIL = "The name says mail (.eml), but the content has neither sender nor date nor subject."


def read_mail(file: Path) -> tuple[str, str, str]:
    """(text, subject, day sent as YYYY-MM-DD or ""); attachments are named and not read."""
    try:
        message = message_from_bytes(read_whole(file), policy=policy.default)
        head = {name: " ".join(str(message[name]).split()) for name in _HEAD if message[name]}
        if not head:
            raise UnreadableFileError(_NOT_A_MAIL)
        body, attached = _body(message), [part.get_filename() or "unnamed" for part in message.iter_attachments()]
    except UnreadableFileError:
        raise
    except Exception as error:  # the header parser raises anything on hostile bytes
        raise UnreadableFileError("The mail is damaged; save it again from the mail program.") from error
    if attached:
        head["Attachments"] = ", ".join(attached)
    lines = "\n".join(f"{name}: {value}" for name, value in head.items())
    return f"{lines}\n\n{body}".strip(), head.get("Subject", ""), _day(head.get("Date", ""))


def _body(message: EmailMessage) -> str:
    part = message.get_body(preferencelist=("plain", "html"))
    if part is None:
        return ""
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes):
        return ""
    charset = part.get_content_charset()
    try:
        text = content.decode(charset) if charset else decode_text(content)
    except (LookupError, ValueError):  # an unknown or a wrong charset
        text = decode_text(content)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return html_to_markdown(text)[0] if part.get_content_type() == "text/html" else text.strip()


def _day(date: str) -> str:
    try:
        return parsedate_to_datetime(date).date().isoformat()
    except (ValueError, IndexError, TypeError, OverflowError):
        return ""
