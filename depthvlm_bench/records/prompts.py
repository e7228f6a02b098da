"""Prompts as data: the text a record carries, from `manifests/prompts/`."""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from depthvlm_bench.config import load_toml
from depthvlm_bench.hashing import sha256_json

DENSE_PROMPT = "depthvlm-dense"


@dataclass(frozen=True)
class Prompt:
    """One prompt: what is said before the picture's question, the question, and the answer trained on."""

    id: str
    source: str
    system: str
    user: str
    answer: str

    def messages(self) -> list[dict[str, Any]]:
        """Chat form: role and parts {type, text}; the picture is a placeholder part without text."""
        picture, question = {"type": "image", "text": None}, {"type": "text", "text": self.user}
        system = {"role": "system", "content": [{"type": "text", "text": self.system}]}
        return [system, {"role": "user", "content": [picture, question]}]

    @property
    def hash(self) -> str:
        """SHA-256 of everything the prompt says."""
        return sha256_json(self)


@cache
def load_prompt(prompt_id: str) -> Prompt:
    """The prompt of an id."""
    return load_toml(Prompt, files("depthvlm_bench.manifests") / "prompts" / f"{prompt_id}.toml")
