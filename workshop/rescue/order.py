"""What a rescue is asked to do: the settings of its job. The key itself is not among them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from jobs.job import Job
from models import foreign
from serve.client import Endpoint
from workshop.asking.asker import Request
from workshop.asking.budget import Ceiling
from workshop.asking.opening import opened
from workshop.rescue.questions import Question


class Sampling(msgspec.Struct, frozen=True, omit_defaults=True):
    """How answers are sampled. What is None is left to the endpoint."""

    max_tokens: int = 1024
    temperature: float | None = 0.0
    top_p: float | None = None
    seed: int | None = None

    def fields(self) -> dict[str, Any]:
        """Those that the request has."""
        values = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: value for name, value in values.items() if value is not None}


class Order(msgspec.Struct, frozen=True):
    model: str
    """The model that will be switched off."""
    address: str
    """The endpoint's address, or its name in config.toml."""
    out: str
    """The folder for the answers."""
    prompts: str
    """The file that the questions come from."""
    prompts_sha256: str
    part: str = "every turn"
    """Which of the file's turns are asked, in words."""
    key_env: str = ""
    key_file: str = ""
    sampling: Sampling = Sampling()
    at_once: Annotated[int, msgspec.Meta(ge=1)] = 8
    tries: Annotated[int, msgspec.Meta(ge=1)] = 8
    """How often a question is asked before it counts as failed."""
    timeout: float = 300.0
    """Seconds without an answer."""
    per_minute: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """The most attempts in a minute."""
    ceiling: Ceiling = Ceiling()
    base: str = ""
    """The base model to train on the answers; empty if none is to be."""

    def endpoint(self) -> Endpoint:
        """With its key, read now. LuthierError if the key is missing."""
        return opened(self.address, "the old model", self.key_env, self.key_file)

    def request(self, question: Question) -> Request:
        return Request(question.messages, self.sampling.fields(), question.tools)

    def key(self, question: Question, base_url: str) -> str:
        """The name of an answer in the cache: everything that it depends on."""
        return self.request(question).key(self.model, base_url)


def order_of(job: Job) -> Order:
    """LuthierError if the settings of the job are damaged."""
    return foreign.settings_of(job, Order)
