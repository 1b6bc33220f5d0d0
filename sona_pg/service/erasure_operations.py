"""Operations that erase the data of a user."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from sona_pg.limits import LONGEST_LABEL, MOST_ERASED
from sona_pg.service.operations import Call, Operations
from sona_pg.service.wire_vectors import STRICT

operations = Operations("erasures")

Name = Annotated[str, Field(min_length=1, max_length=LONGEST_LABEL, pattern=r"^[^\x00]*$")]
Ids = Annotated[list[UUID], Field(min_length=1, max_length=MOST_ERASED)]


class SubjectBody(BaseModel):
    """Whose data: exactly one of the three."""

    model_config = STRICT

    user: Name | None = None  # of trajectories labelled user:…
    session: Name | None = None
    trajectories: Ids | None = None

    def subject(self) -> dict[str, Any]:
        """Return the arguments of ``forget`` that name the subject."""
        return {"user": self.user, "session": self.session, "trajectories": self.trajectories}


class ForgetBody(SubjectBody):
    """Whose data, and whether what expired records have taught may go too."""

    drop_expired: bool = False
    drop_contents: bool = False  # of the candidates that the plan names


class PlanAnswer(BaseModel):
    """What an erasure would remove, and which versions it would drop."""

    trajectories: int
    steps: int
    feedback: int
    first_version: int | None
    versions: list[int]
    expired: int
    candidates: list[str]  # that the subject has probably written: they stay


class SignatureAnswer(BaseModel):
    """Signature of a receipt with the key of the service's home folder, or of SONA_PG_RECEIPT_KEY."""

    algorithm: str
    key: str
    value: str


class ReceiptAnswer(BaseModel):
    """The signed receipt; it names nobody."""

    model_config = ConfigDict(extra="allow")

    erasure: UUID
    space: str
    kind: str
    removed: dict[str, int]
    version: int
    versions_dropped: list[int]
    signature: SignatureAnswer


class VerifyBody(BaseModel):
    """A receipt."""

    model_config = STRICT

    receipt: dict[str, Any]


class VerifyAnswer(BaseModel):
    """Whether the receipt is signed, unchanged, and the one in the store."""

    genuine: bool


@operations.add("POST", "/v1/forget", scope="admin", body=ForgetBody, answer=ReceiptAnswer, waits=True)
async def forget(call: Call[ForgetBody]) -> Any:
    """Erase the data of a user, a session or single trajectories, and everything learned from it, on every server."""
    body = call.body
    receipt = await (await call.engine()).forget(
        **body.subject(), drop_expired=body.drop_expired, drop_contents=body.drop_contents
    )
    return receipt.as_dict()


@operations.add("POST", "/v1/forget/plan", scope="admin", body=SubjectBody, answer=PlanAnswer, waits=True)
async def forget_plan(call: Call[SubjectBody]) -> Any:
    """Say what an erasure would remove; nothing changes."""
    return (await (await call.engine()).forget_plan(**call.body.subject())).as_dict()


@operations.add("POST", "/v1/forget/verify", scope="admin", body=VerifyBody, answer=VerifyAnswer)
async def verify_receipt(call: Call[VerifyBody]) -> Any:
    """Check the receipt of an erasure."""
    return {"genuine": await (await call.engine()).verify_receipt(call.body.receipt)}
