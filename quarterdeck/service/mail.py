"""Mail to those who may decide a draft: that it waits, and where to look. What is in it stays where rights are checked."""

from __future__ import annotations

import contextlib
import smtplib
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Literal

import anyio

from quarterdeck.agent.drafts import KIND, from_record
from quarterdeck.core.events import ApprovalEscalated, ApprovalRequested
from quarterdeck.service.deliveries import Delivery, Happened, Sent, Target, Verdict
from quarterdeck.store.base import Put

__all__ = ["SINK", "ApprovalMail", "MailServer", "Mailbox"]

SINK = "mail"
_SENDING = 4  # threads that talk to the mail server at once; what waits longer than an attempt may take is tried again


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailbox:
    """Where somebody reads mail. Attributes: approver: A role, or ``user:<id>``."""

    tenant: str
    approver: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MailServer:
    """Who takes mail in, and as whom.

    Attributes:
        security: ``starttls`` and ``tls`` check the certificate; ``none`` sends in the clear.
        ca_file: Of the authority that signed it, None for those the system trusts.
        link: Begins the addresses in mails, None for none.
        timeout_s: For one attempt in all.
    """

    host: str
    port: int
    sender: str
    security: Literal["starttls", "tls", "none"] = "starttls"
    ca_file: str | None = None
    username: str | None = None
    password: str | None = None
    link: str | None = None
    timeout_s: float = 10.0


class ApprovalMail:
    """`Subscribers` and `Sink`: whoever is asked to decide gets a mail, however long the mail server was away."""

    def __init__(self, server: MailServer, mailboxes: Sequence[Mailbox]) -> None:
        self._server = server
        self._mailboxes = mailboxes
        self._slots: anyio.CapacityLimiter | None = None

    async def targets(self, happened: Happened) -> Sequence[Target]:
        """The mailboxes of those whose word is wanted."""
        match happened.event:
            case ApprovalRequested(approvers=wanted) | ApprovalEscalated(to=wanted):
                named = set(wanted or ("approver",))
            case _:
                return ()
        tenant = happened.notice.tenant
        found = (box.address for box in self._mailboxes if box.tenant == tenant and box.approver in named)
        content = _content(happened)
        return [Target(sink=SINK, address=address, content=content) for address in dict.fromkeys(found)]

    async def send(self, delivery: Delivery) -> Sent:
        """One attempt. A mailbox the server refuses for good is not tried again."""
        if self._slots is None:  # made where it is used, as it belongs to the event loop
            self._slots = anyio.CapacityLimiter(_SENDING)
        message = _message(delivery, self._server)
        with anyio.move_on_after(self._server.timeout_s):
            return await anyio.to_thread.run_sync(
                _attempt, self._server, message, abandon_on_cancel=True, limiter=self._slots
            )
        return Sent(verdict=Verdict.FAILED, detail=f"the mail server took longer than {self._server.timeout_s:g} s")


def _attempt(server: MailServer, message: EmailMessage) -> Sent:
    try:
        with contextlib.closing(_connected(server)) as smtp:
            if server.username is not None:
                smtp.login(server.username, server.password or "")
            smtp.send_message(message)
            with contextlib.suppress(smtplib.SMTPException, OSError):
                smtp.quit()  # how it takes leave changes nothing: it has the mail
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _ in error.recipients.values()]
        gone = bool(codes) and all(code >= 500 for code in codes)
        return Sent(verdict=Verdict.REFUSED if gone else Verdict.FAILED, detail=f"the mailbox was refused: {codes}")
    except smtplib.SMTPResponseException as error:
        return Sent(verdict=Verdict.FAILED, detail=f"the mail server answered {error.smtp_code}")
    except (smtplib.SMTPException, OSError) as error:
        return Sent(verdict=Verdict.FAILED, detail=f"the mail server could not be used: {type(error).__name__}")
    return Sent(verdict=Verdict.DELIVERED)


def _connected(server: MailServer) -> smtplib.SMTP:
    if server.security == "tls":
        return smtplib.SMTP_SSL(server.host, server.port, timeout=server.timeout_s, context=_context(server))
    smtp = smtplib.SMTP(server.host, server.port, timeout=server.timeout_s)
    if server.security == "starttls":
        try:
            smtp.starttls(context=_context(server))
        except BaseException:
            smtp.close()
            raise
    return smtp


def _context(server: MailServer) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=server.ca_file)


def _content(happened: Happened) -> dict[str, str]:
    for row in happened.beside:
        if isinstance(row, Put) and row.record.kind == KIND and row.record.id == happened.notice.data.get("draft_id"):
            draft = from_record(row.record)
            return {"tool": draft.tool, "summary": draft.summary, "level": f"{draft.step} of {draft.steps}"}
    return {}


def _message(delivery: Delivery, server: MailServer) -> EmailMessage:
    """The same mail in every attempt, by its id; no argument of the call and nothing anybody said is in it."""
    notice, content = delivery.notice, delivery.target.content
    draft = notice.data.get("draft_id", "")
    tool = content.get("tool", "a call")
    message = EmailMessage()
    message["From"] = server.sender
    message["To"] = delivery.target.address
    message["Date"] = notice.at
    message["Message-ID"] = f"<{delivery.id}@quarterdeck>"
    message["Auto-Submitted"] = "auto-generated"
    message["Subject"] = f"{'Still waiting' if notice.data.get('escalated') else 'Waiting'} for approval: {tool}"
    lines = [
        f"The agent {notice.data.get('agent', '')} wants to use {tool} and needs a person to agree.",
        "",
        content.get("summary", ""),
        f"Level: {content['level']}" if "level" in content else "",
        f"Decide until: {notice.data.get('expires_at', '')}",
        f"Draft: {draft}",
        "" if server.link is None else f"{server.link.rstrip('/')}/api/v1/approvals/{draft}",
        "",
        f"Look at it:  quarterdeck approvals show {draft}",
    ]
    message.set_content("\n".join(line for position, line in enumerate(lines) if line or position == 1) + "\n")
    return message
