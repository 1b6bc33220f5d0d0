"""Bodies and answers of the operations that record."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, Field, WithJsonSchema

from sona_pg.limits import LONGEST_ID, LONGEST_LABEL, LONGEST_QUERY, MAX_FEATURES, MAX_PARAMETER, MAX_STEPS, MOST_INT8
from sona_pg.service.wire_vectors import STRICT, Asked, Vector, WireMatrix

Id = Annotated[str, Field(min_length=1, max_length=LONGEST_ID)]
Label = Annotated[str, Field(max_length=LONGEST_LABEL)]
Share = Annotated[float, Field(ge=0, le=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, lt=1e12)]
Cost = Annotated[float, Field(ge=0, le=1e30)]
Whole = Annotated[int, Field(ge=-MOST_INT8 - 1, le=MOST_INT8)]

SAFE = 1 << 53  # JavaScript rounds whole numbers beyond it


def _set_number(given: Any) -> Any:
    """Read the number of a candidate set: text as answered, or a JSON number that no client has rounded."""
    if isinstance(given, str):
        if len(given) > 20 or not given.removeprefix("-").isdecimal() or not given.isascii():
            raise ValueError("expected the text that the answer has")
        return int(given)
    if type(given) is int and SAFE < abs(given) <= MOST_INT8 + 1 and _is_rounded(given):
        raise ValueError("this number was rounded on its way: send candidate_set as text, as the answer has it")
    return given


def _is_rounded(number: int) -> bool:
    """Whether a number is what is left of another in a float64: its exact value, or its digits as programs print it.

    Of all 64-bit numbers three in a thousand are such ones and were not rounded.
    """
    near = float(number)
    return number in (int(near), int(Decimal(repr(near))), int(Decimal(f"{near:.17g}")))


SetNumber = Annotated[
    Whole,
    BeforeValidator(_set_number),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": "^-?[0-9]{1,19}$"},
                {"type": "integer", "maximum": SAFE, "minimum": -SAFE},
            ],
            "description": "answered as text: it has 64 bits, and JavaScript rounds numbers beyond 2^53",
        }
    ),
]


class StepBody(BaseModel):
    """One step: the vector of what was answered or chosen, what was attended to, and how good it was.

    A good step moves queries like this one towards its activations, a bad one away from them (``/v1/adapt``).
    Activations of another length than the space's vectors are stored, and no adapter learns from them.
    """

    model_config = STRICT

    activations: Vector | None = None
    attention_weights: Vector | None = None
    reward: Annotated[float, Field(ge=-1e6, le=1e6)] = 0.0


class DecisionBody(BaseModel):
    """A decision as ``/v1/route`` has given it."""

    model_config = STRICT

    route: Id
    propensity: Annotated[float, Field(gt=0, le=1)]
    scores: dict[str, Finite] = Field(default_factory=dict)
    version: Annotated[int, Field(ge=0, le=MOST_INT8)]
    reason: str = ""
    candidate_set: SetNumber | None = None
    cost: Annotated[float, Field(ge=0, le=1e30)] | None = None
    features: Annotated[list[Annotated[float, Field(ge=-65504, le=65504)]], Field(max_length=MAX_FEATURES)] | None = (
        None
    )


class RankingBody(BaseModel):
    """A ranking as ``/v1/rank`` has given it."""

    model_config = STRICT

    ids: list[Id]
    scores: list[Finite]
    version: Annotated[int, Field(ge=0, le=MOST_INT8)]
    candidate_set: SetNumber | None = None
    confidence: Annotated[float, Field(ge=0, le=1)] | None = None
    fit: Annotated[float, Field(ge=0, le=1)] | None = None


class Begun(Asked):
    """The beginning of a trajectory."""

    query: Annotated[str, Field(max_length=LONGEST_QUERY)] | None = None  # stored; by default `text`
    decision: DecisionBody | None = None
    ranking: RankingBody | None = None
    id: Id | None = None  # the caller's own: a UUIDv7, or with started_at any text
    started_at: datetime | None = None
    context: list[Label] = Field(default_factory=list, max_length=1000)


class TrajectoryBody(Begun):
    """A whole trajectory."""

    route: Id | None = None
    steps: Annotated[list[StepBody], Field(max_length=MAX_STEPS)] = Field(default_factory=list)
    parameters: Annotated[
        dict[
            Annotated[str, Field(min_length=1, max_length=200)],
            Annotated[float, Field(ge=-MAX_PARAMETER, le=MAX_PARAMETER)],
        ],
        Field(max_length=100),
    ] = Field(default_factory=dict)
    quality: Share | None = None
    latency: Amount | None = None  # seconds; by default unknown
    cost: Cost | None = None  # its real cost, in the unit of the costs of `/v1/route`


class BatchBody(BaseModel):
    """Many whole trajectories."""

    model_config = STRICT

    trajectories: Annotated[list[TrajectoryBody], Field(min_length=1)]


class ColumnsBody(BaseModel):
    """Many trajectories by columns: the fastest way in."""

    model_config = STRICT

    vectors: WireMatrix
    qualities: list[Share | None] | None = None
    routes: list[Id | None] | None = None


class EndBody(BaseModel):
    """The end of a trajectory that was begun before, on whichever server."""

    model_config = STRICT

    quality: Share | None = None
    route: Id | None = None
    latency: Amount | None = None
    cost: Cost | None = None


class FeedbackBody(BaseModel):
    """A fact about a trajectory, recorded on whichever server, now or weeks ago."""

    model_config = STRICT | {
        "json_schema_extra": {
            "anyOf": [
                {"required": ["quality"]},
                {"required": ["correction"]},
                {"required": ["cost"]},
                {"required": ["retract"], "properties": {"retract": {"const": True}}},
            ]
        }
    }

    trajectory: UUID
    quality: Share | None = None
    correction: Id | None = None  # the id of the candidate that would have been right
    cost: Cost | None = None  # the real cost of the trajectory
    retract: bool = False  # take back what this key has said
    source: Id | None = None  # of a retraction: whose word; another's than this key's takes the scope admin
    sequence: Whole | None = None  # for facts that may be sent twice


class FeedbackBatch(BaseModel):
    """Many facts of feedback."""

    model_config = STRICT

    feedback: Annotated[list[FeedbackBody], Field(min_length=1)]


class Recorded(BaseModel):
    """The id of a trajectory."""

    id: UUID


class RecordedBatch(BaseModel):
    """The ids of the trajectories, in their order."""

    ids: list[UUID]


class Retracted(BaseModel):
    """What a retraction has taken back, of what was committed or recorded by this server before it.

    Where a later word of its source stands, nothing is taken back: quality, correction and cost are that word's.
    """

    source: str  # whose word: by default the key's name
    found: bool  # false: this source had said nothing of the trajectory, had taken it back already, or ``later`` stands
    quality: float | None = None
    correction: str | None = None
    cost: float | None = None
    later: int | None = None  # sequence of this source's word that stands, as the retraction's own is not above it
    others: list[str]  # sources whose word still counts


class Noted(BaseModel):
    """The sequence number of a fact; of a retraction also what it has done."""

    sequence: int
    retracted: Retracted | None = None  # of a retraction; null: the database does not answer, so it is not known


class NotedBatch(BaseModel):
    """The sequence numbers of facts, in their order."""

    sequences: list[int]
