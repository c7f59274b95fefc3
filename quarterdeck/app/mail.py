"""Mail to approvers, as the configuration has it."""

from __future__ import annotations

from quarterdeck.service.mail import ApprovalMail, Mailbox, MailServer
from quarterdeck.settings.mail import MailSettings

__all__ = ["approval_mail"]


def approval_mail(settings: MailSettings) -> ApprovalMail | None:
    """What tells approvers by mail; None where no mail server is named."""
    if settings.host is None or settings.sender is None:
        return None
    server = MailServer(
        host=settings.host,
        port=settings.port,
        sender=settings.sender,
        security=settings.security,
        ca_file=settings.ca_file,
        username=settings.username,
        password=None if settings.password is None else settings.password.get_secret_value(),
        link=settings.link,
        timeout_s=settings.timeout_s,
    )
    boxes = [Mailbox(tenant=box.tenant, approver=box.approver, address=box.address) for box in settings.mailboxes]
    return ApprovalMail(server, boxes)
