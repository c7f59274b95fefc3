"""Mail to approvers, before a mail server of this test's own."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email import message_from_string
from pathlib import Path

import anyio
import pytest
from anyio.abc import SocketAttribute, SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSStream

from quarterdeck.agent.drafts import to_record
from quarterdeck.core.decisions import Draft
from quarterdeck.core.events import ApprovalEscalated, ApprovalRequested, InDoubt
from quarterdeck.core.labels import Label, Readers
from quarterdeck.service.deliveries import Delivery, Happened, Notice, Target, Verdict
from quarterdeck.service.mail import SINK, ApprovalMail, Mailbox, MailServer
from quarterdeck.store.base import Put

NOW = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
SOMEBODY = Target(sink=SINK, address="somebody@acme.example")
BOXES = (
    Mailbox(tenant="acme", approver="finance", address="finance@acme.example"),
    Mailbox(tenant="acme", approver="user:omar", address="omar@acme.example"),
    Mailbox(tenant="acme", approver="cfo", address="cfo@acme.example"),
    Mailbox(tenant="globex", approver="finance", address="finance@globex.example"),
)


@dataclass
class PostOffice:
    """A mail server. Attributes: answers: To commands that begin so, in place of the usual."""

    answers: dict[str, str] = field(default_factory=dict)
    heard: list[str] = field(default_factory=list)
    mails: list[str] = field(default_factory=list)
    secret: ssl.SSLContext | None = None
    mute: bool = False

    async def serve(self, stream: SocketStream) -> None:
        async with stream:
            if self.mute:
                await anyio.sleep_forever()
            await self._talk(stream)

    async def _talk(self, stream: SocketStream | TLSStream) -> None:
        lines = BufferedByteReceiveStream(stream)
        if isinstance(stream, SocketStream):
            await stream.send(b"220 here\r\n")
        while True:
            try:
                line = (await lines.receive_until(b"\r\n", 10_000)).decode()
            except (anyio.IncompleteRead, anyio.BrokenResourceError, anyio.EndOfStream):
                return
            self.heard.append(line)
            word = line.split()[0].upper()
            answer = next((said for begin, said in self.answers.items() if line.upper().startswith(begin)), None)
            if answer is not None:
                await stream.send(f"{answer}\r\n".encode())
            elif word == "EHLO":
                tls = "250-STARTTLS\r\n" if self.secret and isinstance(stream, SocketStream) else ""
                await stream.send(f"250-here\r\n{tls}250 AUTH PLAIN\r\n".encode())
            elif word == "STARTTLS" and isinstance(stream, SocketStream):
                await stream.send(b"220 go\r\n")
                try:
                    safe = await TLSStream.wrap(stream, server_side=True, ssl_context=self.secret, standard_compatible=False)
                except (ssl.SSLError, anyio.BrokenResourceError, anyio.EndOfStream):
                    return
                await self._talk(safe)
                return
            elif word == "DATA":
                await stream.send(b"354 go on\r\n")
                self.mails.append((await lines.receive_until(b"\r\n.\r\n", 100_000)).decode())
                await stream.send(b"250 kept\r\n")
            else:
                await stream.send(b"221 bye\r\n" if word == "QUIT" else b"235 in\r\n" if word == "AUTH" else b"250 fine\r\n")


@asynccontextmanager
async def opened(office: PostOffice) -> AsyncIterator[int]:
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, office.serve)
        yield listener.extra(SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


def server(port: int, **more: object) -> MailServer:
    plain = MailServer(host="127.0.0.1", port=port, sender="desk@acme.example", security="none", timeout_s=5.0)
    return replace(plain, **more)  # type: ignore[arg-type]  # fields of it


def happened(event: ApprovalRequested | ApprovalEscalated | InDoubt, tenant: str = "acme") -> Happened:
    draft = Draft(
        id="d1",
        run_id="r1",
        call_id="t1c0",
        tool="pay",
        args={"iban": "SECRET-ARGUMENT"},
        args_hash="h",
        label=Label(readers=Readers.of("user:emma")),
        policy_version="1",
        rule="r",
        requested_by="emma",
        created_at=NOW,
        expires_at=NOW,
        summary="Pay somebody.",
        steps=2,
    )
    notice = Notice(
        id="evt_1",
        type="approval_needed",
        tenant=tenant,
        run_id="r1",
        at=NOW,
        data={"draft_id": "d1", "agent": "support", "expires_at": "2026-03-01T10:00:00Z"},
    )
    return Happened(notice=notice, event=event, agent="support", user="emma", beside=(Put(record=to_record(draft)),))


def requested(*approvers: str) -> ApprovalRequested:
    return ApprovalRequested(id="t1c0", draft="d1", args_hash="h", expires_at=NOW, approvers=approvers)


def delivery(target: Target) -> Delivery:
    return Delivery(id="dd1", notice=happened(requested()).notice, target=target, first_at=NOW)


@pytest.mark.row("G2", part="mail")
async def test_those_are_told_whose_word_is_wanted_and_nobody_of_another_tenant() -> None:
    mail = ApprovalMail(server(1), BOXES)

    asked = await mail.targets(happened(requested("finance", "user:omar")))
    later = await mail.targets(happened(ApprovalEscalated(id="t1c0", draft="d1", level=1, to=("cfo",), expires_at=NOW)))
    other = await mail.targets(happened(InDoubt(id="t1c0", started_seq=1, not_before=NOW)))

    assert [target.address for target in asked] == ["finance@acme.example", "omar@acme.example"]
    assert [target.address for target in later] == ["cfo@acme.example"]
    assert other == ()


@pytest.mark.row("G2", part="mail")
async def test_a_mail_says_which_draft_waits_and_nothing_of_what_is_in_it() -> None:
    office = PostOffice()
    async with opened(office) as port:
        mail = ApprovalMail(server(port, link="https://desk.example/"), BOXES)
        (target,) = await mail.targets(happened(requested("finance")))

        sent = [await mail.send(delivery(target)) for _ in range(2)]

    assert [each.verdict for each in sent] == [Verdict.DELIVERED, Verdict.DELIVERED]
    assert office.mails[0] == office.mails[1]
    read = message_from_string(office.mails[0])
    assert (read["To"], read["Subject"]) == ("finance@acme.example", "Waiting for approval: pay")
    assert "https://desk.example/api/v1/approvals/d1" in office.mails[0]
    assert "Level: 1 of 2" in office.mails[0]
    assert "SECRET-ARGUMENT" not in office.mails[0]


@pytest.mark.row("G2", part="mail")
@pytest.mark.parametrize(
    ("answers", "verdict"),
    [
        ({"RCPT": "550 unknown"}, Verdict.REFUSED),
        ({"RCPT": "451 later"}, Verdict.FAILED),
        ({"MAIL": "530 log in"}, Verdict.FAILED),
        ({"EHLO": "500 no", "HELO": "500 no"}, Verdict.FAILED),
        ({"QUIT": "500 no"}, Verdict.DELIVERED),  # it has the mail
    ],
)
async def test_what_a_mail_server_says_decides_whether_it_is_tried_again(answers: dict[str, str], verdict: Verdict) -> None:
    async with opened(PostOffice(answers=answers)) as port:
        sent = await ApprovalMail(server(port), BOXES).send(delivery(SOMEBODY))

    assert sent.verdict is verdict


@pytest.mark.row("G2", part="mail")
async def test_a_mail_server_that_is_silent_or_away_costs_one_attempt_of_bounded_time() -> None:
    async with opened(PostOffice(mute=True)) as port:
        with anyio.fail_after(5):
            silent = await ApprovalMail(server(port, timeout_s=0.2), BOXES).send(delivery(SOMEBODY))
    away = await ApprovalMail(server(port), BOXES).send(delivery(SOMEBODY))

    assert (silent.verdict, away.verdict) == (Verdict.FAILED, Verdict.FAILED)


@pytest.mark.row("G2", part="mail")
async def test_the_password_goes_only_to_a_server_whose_certificate_is_known(tmp_path: Path) -> None:
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subject = ("-subj", "/CN=desk", "-addext", "subjectAltName=IP:127.0.0.1")
    made = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", str(key), "-out", str(cert))
    subprocess.run((*made, *subject), check=True, capture_output=True, timeout=60)
    secret = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    secret.load_cert_chain(cert, key)
    office = PostOffice(secret=secret)
    async with opened(office) as port:
        login = {"security": "starttls", "username": "desk", "password": "open-sesame"}
        stranger = await ApprovalMail(server(port, **login), BOXES).send(delivery(SOMEBODY))
        before = [line for line in office.heard if line.startswith("AUTH")]
        known = await ApprovalMail(server(port, ca_file=str(cert), **login), BOXES).send(delivery(SOMEBODY))

    assert (stranger.verdict, before) == (Verdict.FAILED, [])
    assert "open-sesame" not in stranger.detail
    assert known.verdict is Verdict.DELIVERED
