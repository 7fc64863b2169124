"""compose.yaml is one that Docker would take, with settings that there are and the store of the version that is locked.

The schema is that of the Compose specification, as docker-compose 1.29.2 has it (Apache License 2.0).
"""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft201909Validator

from app.settings import Settings
from indexes.paths import VARIABLES

ROOT = Path(__file__).resolve().parent.parent
SCHEMA = Draft201909Validator(json.loads((ROOT / "tests" / "compose_spec.json").read_text()))


@pytest.fixture
def compose() -> Any:
    return yaml.safe_load((ROOT / "compose.yaml").read_text())


def test_the_file_is_of_the_specifications_form(compose: Any) -> None:
    assert [error.message for error in SCHEMA.iter_errors(compose)] == []
    compose["services"]["app"]["port"] = "7860:7860"  # "ports" was meant
    assert any("'port'" in error.message for error in SCHEMA.iter_errors(compose))


def test_it_names_what_there_is(compose: Any) -> None:
    services, volumes = compose["services"], compose["volumes"]
    for service in services.values():
        assert set(service.get("depends_on", ())) <= services.keys()
        named = {volume.partition(":")[0] for volume in service.get("volumes", ())}
        assert {name for name in named if not name.startswith(".")} <= volumes.keys()
    known = {*map(str.upper, Settings.model_fields), *VARIABLES}
    assert services["app"]["environment"].keys() <= known


def test_the_chroma_server_is_of_the_version_that_is_locked(compose: Any) -> None:
    version = compose["services"]["chroma"]["image"].partition(":")[2]
    assert f"chromadb=={version}" in (ROOT / "requirements.lock").read_text().split()
