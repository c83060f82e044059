"""What FastAPI cannot tell by itself for the description of the interface: bodies, answers, problems."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Query, Response
from pydantic import BaseModel, ConfigDict, Field

from pix2pix.inference.halves import HalfChoice
from pix2pix.serve.media import ANSWERED, SUFFIXES
from pix2pix.serve.problems import PROBLEM_JSON


class Choices(BaseModel):
    """What the query of a translation may hold."""

    model_config = ConfigDict(extra="forbid")

    seed: int | None = Field(None, ge=0, lt=2**63, description="Turns the model's noise on: another sample for each.")
    half: HalfChoice = Field(
        "auto",
        description="Half of the picture that is translated; by default, of a picture of the size of the training's "
        "side-by-side files, that of the source.",
    )


TranslateQuery = Annotated[Choices, Query()]

_PICTURE = {"type": "string", "format": "binary"}
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "request_id"],
    "properties": {
        "type": {"type": "string", "description": "Stable, for programs: urn:pix2pix:problem:KIND."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "One sentence for people."},
        "request_id": {"type": "string"},
    },
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the descriptions of problem answers."""
    content = {PROBLEM_JSON: {"schema": _PROBLEM}}
    return {status: {"description": HTTPStatus(status).phrase, "content": content} for status in statuses}


MODELS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The models",
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["models"],
                    "properties": {"models": {"type": "array", "items": {"type": "object"}}},
                }
            }
        },
    },
    **problems(400, 403),
}
EXAMPLES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The picture", "content": {"image/png": {"schema": _PICTURE}}},
    **problems(400, 403, 404, 422),
}


def describe_translate(forms: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Return the description of a route that translates; `forms` are the sources of the models that it can reach."""
    taken = SUFFIXES if any(len(names) == 1 for names in forms) else ()
    bodies: dict[str, Any] = {kind: {"schema": _PICTURE} for kind in taken}
    schemas = [_describe_form(names) for names in dict.fromkeys(map(tuple, forms))]
    bodies["multipart/form-data"] = {"schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}}
    return {
        "tags": ["translate"],
        "summary": "Translate one picture; Accept chooses the type of the answer",
        "response_class": Response,
        "responses": {
            200: {"description": "The output", "content": {kind: {"schema": _PICTURE} for kind in ANSWERED}},
            **problems(400, 403, 404, 406, 408, 413, 415, 422, 429, 500, 503, 504),
        },
        "openapi_extra": {"requestBody": {"required": True, "content": bodies}},
    }


def _describe_form(names: Sequence[str]) -> dict[str, Any]:
    parts = {name: _PICTURE for name in names}
    return {"type": "object", "required": list(names), "properties": parts, "additionalProperties": False}
