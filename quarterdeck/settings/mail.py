"""The ``mail`` section: who is told by mail that a draft waits for them."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, StringConstraints, model_validator

from quarterdeck.settings.sections import Id, Seconds, Section

__all__ = ["MailSettings", "MailboxFile"]

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

Address = Annotated[str, StringConstraints(pattern=r"^[^\s@<>\",;:\\]{1,64}@[A-Za-z0-9.-]{1,253}$")]
Approver = Annotated[str, StringConstraints(pattern=r"^(user:)?[A-Za-z0-9_.@-]{1,64}$")]


class MailboxFile(Section):
    """Where those read mail who may decide drafts."""

    approver: Approver = Field(description="A role, or a person as user:<id>, as policies name them.")
    address: Address = Field(description="Mail address.")
    tenant: Id = Field(description="Whose drafts it is told of.")


class MailSettings(Section):
    """Mail to those who may decide a draft, when it begins to wait for them. It says which, and nothing of what is in it."""

    host: str | None = Field(None, description="Mail server; None for no mail.")
    port: int = Field(587, ge=1, le=65_535, description="Port.")
    security: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="starttls and tls check the server's certificate. none: in the clear, and without a user."
    )
    ca_file: str | None = Field(None, description="Certificates of the authority that signed it; None for the system's.")
    username: str | None = Field(None, description="Whom to log in as; None for nobody.")
    password: SecretStr | None = Field(None, description="Keep it in the environment, as QUARTERDECK_MAIL__PASSWORD.")
    sender: Address | None = Field(None, description="Address mails come from.")
    link: str | None = Field(None, pattern=r"^https?://", description="Address of this server as readers of mails know it.")
    timeout_s: Seconds = Field(10.0, le=300, description="Seconds one attempt may take.")
    mailboxes: tuple[MailboxFile, ...] = Field((), description="Who reads where.")

    @model_validator(mode="after")
    def _can_be_sent(self) -> Self:
        if self.host is None:
            if self.mailboxes:
                raise ValueError("host: is missing, so nothing would be sent to the mailboxes")
            return self
        if self.sender is None:
            raise ValueError("sender: is missing")
        if self.username is not None and self.security == "none" and self.host not in _LOOPBACK:
            raise ValueError("security: none would send the password in the clear")
        return self
