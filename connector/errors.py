"""What can go wrong, sorted by the one question a caller has: try again or not?

ConnectorError
  TransientError    worth trying again: no answer, 429, 5xx
    AmbiguousError  the request may have been carried out: never repeat it blindly
  PermanentError    fails the same way every time
  RefusedError      the user's input or permission; has an HTTP status and a text for the user

Messages hold codes and our own ids, never a vendor's words, a URL, a token or a patient.
"""

from __future__ import annotations


class Text(str):
    """A sentence made of a constant template and values: it reads as the sentence, and a page can translate the
    template. `Text("must be at most %(max)s", max=80)`."""

    __slots__ = ("template", "values")
    template: str
    values: dict[str, object]

    def __new__(cls, template: str, **values: object) -> Text:
        made = super().__new__(cls, template % values)
        made.template, made.values = template, values
        return made


class ConnectorError(Exception):
    """`code` is a constant, lower-case, dotted name such as `cerner.unavailable`; it is what logs show."""

    def __init__(
        self,
        code: str,
        *,
        vendor_status: int | None = None,
        vendor_code: str | None = None,
        vendor_reference: str | None = None,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.vendor_status = vendor_status
        self.vendor_code = vendor_code
        """A documented error code of the vendor (an OAuth error, a URN), never free text."""
        self.vendor_reference = vendor_reference
        """The vendor's correlation id, for a support case with the vendor."""
        self.framed_by: tuple[str, ...] | None = None
        """Who may frame the page that shows this: as the connection it happened in says."""
        self.vendor_link: str | None = None
        """Where the vendor explains it: shown to the person, never logged."""


class TransientError(ConnectorError):
    """Worth trying again: connection refused, 408, 429, 500, 502, 503, 504."""

    def __init__(
        self,
        code: str,
        *,
        retry_after_s: float | None = None,
        vendor_status: int | None = None,
        vendor_code: str | None = None,
        vendor_reference: str | None = None,
    ) -> None:
        super().__init__(code, vendor_status=vendor_status, vendor_code=vendor_code, vendor_reference=vendor_reference)
        self.retry_after_s = retry_after_s


class AmbiguousError(TransientError):
    """No answer after the request went out: it may have taken effect (a read time-out of a paid send)."""


class PermanentError(ConnectorError):
    """Fails the same way every time: 404, a malformed answer, a number that is no mobile."""


class RefusedError(ConnectorError):
    """The person asking must do something else; `message` says what, and who can fix it."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int = 400,
        title: str = "This did not work",
        details: dict[str, str] | None = None,
        retry_after_s: float | None = None,
        vendor_code: str | None = None,
        vendor_reference: str | None = None,
    ) -> None:
        super().__init__(code, vendor_code=vendor_code, vendor_reference=vendor_reference)
        self.message = message
        self.status = status
        self.title = title
        self.retry_after_s = retry_after_s
        """The same request is good then; None: the person must do something else first."""
        self.details = details or {}
        """Field name to message, for forms and problem+json."""
