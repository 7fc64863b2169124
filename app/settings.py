"""The settings of the page, read from the environment here and nowhere else."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from indexes.encoder_files import DEFAULT_ENCODER
from indexes.errors import InputError
from indexes.store_settings import StoreSettings


class Settings(BaseSettings):
    """What the environment says; every name in capitals is a variable, an empty one counts as unset."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    data_dir: Path = Path("data")
    openai_api_key: SecretStr | None = None
    openai_base_url: str | None = Field(default=None, pattern=r"^https?://\S+$")
    llm_model: str | None = None
    local_llm: str = "qwen-1.5b"
    encoder: str = DEFAULT_ENCODER
    chroma_url: str = ""
    chroma_tenant: str = ""
    chroma_database: str = ""
    chroma_token: SecretStr = SecretStr("")
    app_host: str = "127.0.0.1"
    app_port: int = Field(default=7860, ge=1, le=65535)
    app_auth: SecretStr | None = None
    app_root_path: str = Field(default="", pattern=r"^(https?://[^\s/]+)?(/[\w.~-]+)*/?$")
    app_max_upload_mb: int = Field(default=200, ge=1)
    app_demo: bool = True
    app_mcp: bool = False
    app_log_questions: bool = False  # of each corpus the newest, see app.asked.MOST_KEPT

    @property
    def uses_endpoint(self) -> bool:
        """Whether answers come from an OpenAI-compatible endpoint, and not from the embedded LLM."""
        return self.openai_api_key is not None or self.openai_base_url is not None

    @property
    def store(self) -> StoreSettings:
        """Where the vectors are; `InputError` if what is set does not go together."""
        return StoreSettings(
            url=self.chroma_url,
            tenant=self.chroma_tenant,
            database=self.chroma_database,
            token=self.chroma_token.get_secret_value(),
        )


_EXPECTED = {
    "openai_base_url": "an address like https://host/v1",
    "app_port": "a port number from 1 to 65535",
    "app_max_upload_mb": "a whole number of megabytes, at least 1",
    "app_root_path": "the path at which a proxy shows the page, like /rag",
    "app_demo": "true or false",
    "app_mcp": "true or false",
    "app_log_questions": "true or false",
}


def read_settings() -> Settings:
    """The settings; raises `InputError` with a sentence for each variable that is not what it should be."""
    try:
        return Settings()
    except ValidationError as error:
        raise InputError(" ".join(_sentence(*_place(each)) for each in error.errors())) from None


def _place(error: object) -> tuple[str, object]:
    assert isinstance(error, dict)  # noqa: S101 - pydantic's ErrorDetails is a TypedDict
    return str(error["loc"][0]).lower(), error["input"]


def _sentence(name: str, given: object) -> str:
    # The value of a secret is never repeated; only these are, and none of them is one.
    shown = f", but it is '{given}'" if name in _EXPECTED else ""
    return f"{name.upper()} should be {_EXPECTED.get(name, 'another kind of value')}{shown}. Set it again, or unset it."
