"""The ``knowledge`` section: what agents may read, how it is indexed, searched and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from quarterdeck.knowledge.relevance import LEAST
from quarterdeck.settings.sections import Id, Seconds, Section, Words

__all__ = ["Collection", "EmbedderSettings", "KnowledgeCaches", "KnowledgeSettings", "RerankerSettings"]


class Collection(Section):
    """A folder of documents."""

    path: Path = Field(description="Folder, relative to the configuration folder.")
    tenant: Id = Field("default", description="Tenant the documents belong to.")
    groups: Words = Field((), description="Groups that may read documents which name none themselves. Empty: nobody.")
    trusted: bool = Field(False, description="True only if no outsider can write into it.")


class EmbedderSettings(Section):
    """What makes vectors of passages and questions. An index is for one of them: another needs another `index_url`."""

    model: str = Field(
        "",
        pattern=r"^(|e5|minilm|[^\s:]+:[^\s]+)$",
        description="provider:name of an OpenAI-compatible endpoint, or a model on this machine: minilm for English, e5 for "
        "many languages. Empty: words alone.",
    )
    dim: int | None = Field(None, ge=1, le=16_000, description="Numbers of a vector; needed for provider:name.")
    shorten: bool = Field(False, description="Ask for `dim` numbers of a model that can give more.")
    languages: Words = Field(
        (), description="ISO 639 codes of the languages a model at an endpoint knows; empty for all. Others go by words."
    )
    folder: Path | None = Field(
        None, description="Folder with the files of the model, for minilm and e5; None: the installed package of them."
    )

    @model_validator(mode="after")
    def _says_how_long(self) -> Self:
        if ":" in self.model and self.dim is None:
            raise ValueError(f"dim: how many numbers does a vector of {self.model} have?")
        return self


class RerankerSettings(Section):
    """What puts the best passages in a better order before they are cut off."""

    kind: Literal["none", "http", "model", "lexical"] = Field(
        "none", description="http: a /rerank endpoint. model: a language model. lexical: by shared words, which is worse."
    )
    url: str | None = Field(None, description="Base URL of the endpoint, without /rerank.")
    model: str = Field("", description="Model the endpoint is asked for, or provider:name; empty: models.retrieval_model.")
    api_key: SecretStr | None = Field(None, description="Key of the endpoint.")
    timeout_s: Seconds = Field(2.0, description="Seconds it has; after that the order stands as it was.")
    passages: int = Field(30, ge=2, le=200, description="How many of the best it is shown.")

    @model_validator(mode="after")
    def _says_where(self) -> Self:
        if self.kind == "http" and self.url is None:
            raise ValueError("url: where is the endpoint?")
        return self


class KnowledgeCaches(Section):
    """What is kept so that it need not be found out again."""

    second_level: bool = Field(
        True, description="Whether Redis (store.redis_url), or else a file in `data`, stands behind the memory."
    )
    memory_bytes: int = Field(67_108_864, ge=1024, description="Bytes each of them keeps in memory, about.")
    embeddings_s: Seconds = Field(604_800.0, description="Seconds a vector is kept.")
    retrieval_s: Seconds = Field(3_600.0, description="Seconds a search is kept; a change of the index ends it at once.")
    answers_s: Seconds = Field(86_400.0, description="Seconds an answer is kept, of agents with answer_cache.")


class KnowledgeSettings(Section):
    """What agents may read."""

    collections: tuple[Collection, ...] = Field((), description="Folders that are indexed at start when they changed.")
    index_url: SecretStr | None = Field(
        None,
        description="sqlite:///FILE, postgresql://USER@HOST/DATABASE or qdrant://HOST:PORT/NAME of the index; None for a "
        "file in `data`.",
    )
    index_key: SecretStr | None = Field(None, description="Key of the index, for qdrant.")
    embedder: EmbedderSettings = Field(default_factory=EmbedderSettings)
    reranker: RerankerSettings = Field(default_factory=RerankerSettings)
    cache: KnowledgeCaches = Field(default_factory=KnowledgeCaches)
    keyword_weight: float = Field(1.0, ge=0, le=100, description="Weight of the order by words when both are joined.")
    vector_weight: float = Field(1.0, ge=0, le=100, description="Weight of the order by vectors.")
    least_evidence: float = Field(
        LEAST,
        ge=0,
        le=1,
        description="What must speak for the best passage, 0 to 1, or the search gives nothing. With more it says sooner "
        "that nothing is known, and finds less.",
    )
    rewrite: Literal["terms", "model", "never"] = Field(
        "terms",
        description="How a question that leans on the one before is completed for the search: with its terms, by a model "
        "(models.retrieval_model), never.",
    )
    synonyms: Path | None = Field(
        None, description="File of words that mean the same here, in the configuration folder, such as synonyms.yaml."
    )
    everyday_synonyms: bool = Field(True, description="Whether those of any office are looked for as well.")
    chunk_unit: Literal["characters", "tokens"] = Field("characters", description="What a passage's size is counted in.")
    chunk_size: int = Field(800, ge=50, le=20_000, description="Characters or tokens of a passage at most.")
    chunk_overlap: int = Field(0, ge=0, le=2_000, description="Characters or tokens it may repeat of the one before.")
    fetch_origins: Words = Field(
        (), description="Origins, such as http://wiki.intern:8080, that documents may be fetched from though not public."
    )
    search_timeout_s: Seconds = Field(
        5.0, description="Seconds of the search before the first model call; a run goes on without one that is late."
    )

    @model_validator(mode="after")
    def _overlap_fits(self) -> Self:
        if self.chunk_overlap * 2 > self.chunk_size:
            raise ValueError("chunk_overlap: at most half of chunk_size")
        return self
