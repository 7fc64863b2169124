"""The same indexes on a Chroma server, which several processes write and read at once."""

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from fakes import KeywordEncoder
from forked import run_forked
from store_tasks import add_in_turns

from indexes.chroma import connect
from indexes.corpus import Corpus
from indexes.doctor import examine
from indexes.errors import EncoderMismatchError, InputError, NotFoundError, StoreError
from indexes.ingest import add_files, delete_corpus, index_corpus, remove_sources
from indexes.passage_index import PassageIndex, delete_index
from indexes.paths import DataPaths, StoreSettings, read_store

CHROMA = shutil.which("chroma", path=str(Path(sys.executable).parent))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMA is None, reason="chromadb's command line is not beside this Python"),
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that keeps its collections in a folder of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path_factory.mktemp("server")
    command = [str(CHROMA), "run", "--path", str(folder), "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    address = f"http://127.0.0.1:{port}"
    try:
        _await(f"{address}/api/v2/heartbeat", process, folder / "log")
        yield address
    finally:
        process.kill()
        process.wait()


def _await(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(address).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail(f"the server did not come up: {log.read_text()}")


@pytest.fixture
def server(paths: DataPaths, url: str) -> DataPaths:
    return DataPaths(paths.root, StoreSettings(url=url))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "pets"
    made.mkdir()
    (made / "cats.txt").write_text("Cats purr when they are content.")
    (made / "dogs.txt").write_text("Dogs bark at the postman.")
    return made


def places(paths: DataPaths, corpus: str) -> set[str]:
    """The collections that the manifest knows on the server."""
    return set(Corpus.open(paths, corpus).places(paths.store.url))


def stored(paths: DataPaths) -> set[str]:
    """The collections that the server has."""
    return {collection.name for collection in connect(paths.store).list_collections(limit=1000)}


def test_an_index_lives_on_the_server_from_the_first_file_to_the_last(
    server: DataPaths, encoder: KeywordEncoder, folder: Path
) -> None:
    list(add_files(server, "zoo", [folder], encoder))
    list(add_files(server, "zoo", [folder], encoder))
    assert encoder.n_encoded_passages == 2
    assert PassageIndex.open(server, "zoo", encoder).search("who does bark", 1)[0].passage.source == "pets/dogs.txt"
    assert not server.chroma.exists()
    (folder / "cats.txt").rename(folder / "felines.txt")
    (folder / "dogs.txt").write_text("Dogs dig.")
    list(add_files(server, "zoo", [folder], encoder, sync=True))
    assert encoder.n_encoded_passages == 3
    found = PassageIndex.open(server, "zoo", encoder).search("cats dogs")
    assert sorted(hit.passage.source for hit in found) == ["pets/dogs.txt", "pets/felines.txt"]
    assert {hit.passage.id: hit.passage for hit in found} == {p.id: p for p in Corpus.open(server, "zoo").passages()}
    remove_sources(server, "zoo", ["pets/dogs.txt"])
    assert PassageIndex.open(server, "zoo", encoder).n_passages == 1
    assert examine(server, "zoo") == []
    mine = places(server, "zoo")
    assert mine <= stored(server)
    delete_corpus(server, "zoo")
    assert mine.isdisjoint(stored(server))


def test_encoders_side_by_side_and_a_changed_one_that_takes_over(
    server: DataPaths, encoder: KeywordEncoder, folder: Path
) -> None:
    list(add_files(server, "zoo", [folder], encoder))
    other, changed = KeywordEncoder("other", dimension=64, fingerprint="o"), KeywordEncoder(fingerprint="fake-2")
    list(index_corpus(server, Corpus.open(server, "zoo"), other))
    with pytest.raises(EncoderMismatchError):
        PassageIndex.open(server, "zoo", changed)
    steps = index_corpus(server, Corpus.open(server, "zoo"), changed)
    next(steps)
    assert PassageIndex.open(server, "zoo", encoder).n_passages == 2, "the old one answers until the new one is whole"
    list(steps)
    assert PassageIndex.open(server, "zoo", changed).n_passages == 2
    delete_index(server, Corpus.open(server, "zoo"), "other")
    with pytest.raises(NotFoundError):
        PassageIndex.open(server, "zoo", other)
    assert examine(server, "zoo") == []


def test_two_data_folders_on_one_server_stay_apart(server: DataPaths, folder: Path, tmp_path: Path) -> None:
    """The same corpus name and encoder on two machines, one of which is about to delete its corpus."""
    other = DataPaths(tmp_path / "elsewhere", server.store)
    list(add_files(server, "zoo", [folder / "cats.txt"], KeywordEncoder()))
    list(add_files(other, "zoo", [folder / "dogs.txt"], KeywordEncoder()))
    assert examine(server, "zoo") == examine(other, "zoo") == []
    delete_corpus(other, "zoo")
    assert PassageIndex.open(server, "zoo", KeywordEncoder()).search("purr", 1)[0].passage.source == "cats.txt"


def test_a_collection_that_lost_something_is_made_again(
    server: DataPaths, encoder: KeywordEncoder, folder: Path
) -> None:
    list(add_files(server, "zoo", [folder], encoder))
    (place,) = places(server, "zoo")
    collection = connect(server.store).get_collection(place, embedding_function=None)
    collection.delete(ids=collection.get(include=[])["ids"][:1])
    assert len(PassageIndex.open(server, "zoo", encoder).search("cats dogs")) == 2
    connect(server.store).delete_collection(place)
    assert [finding.kind for finding in examine(server, "zoo")] == ["stale collection"]
    assert len(PassageIndex.open(server, "zoo", encoder).search("cats dogs")) == 2
    assert examine(server, "zoo") == []
    assert encoder.n_encoded_passages == 2


def test_moving_to_a_server_and_back_embeds_nothing(server: DataPaths, encoder: KeywordEncoder, folder: Path) -> None:
    here = DataPaths(server.root)
    list(add_files(here, "zoo", [folder], encoder))
    for paths in (server, here, server):
        assert PassageIndex.open(paths, "zoo", encoder).search("who does bark", 1)[0].passage.source == "pets/dogs.txt"
    (folder / "mice.txt").write_text("Mice squeak.")
    for paths in (server, here):
        list(add_files(paths, "zoo", [folder], encoder))
        assert PassageIndex.open(paths, "zoo", encoder).search("squeak", 1)[0].passage.source == "pets/mice.txt"
        assert examine(paths, "zoo") == []
    assert encoder.n_encoded_passages == 3


@pytest.mark.parametrize("name", ["Ünïcode 漢字 corpus", "x" * 300])
def test_any_name_is_kept_on_the_server(server: DataPaths, encoder: KeywordEncoder, folder: Path, name: str) -> None:
    list(add_files(server, name, [folder], encoder))
    (place,) = places(server, name)
    assert connect(server.store).get_collection(place, embedding_function=None).metadata["corpus"] == name


def test_processes_write_at_once_while_others_read(server: DataPaths, tmp_path: Path) -> None:
    """Two corpora at the same time, one corpus in turns, and never an answer that fails."""
    for n in range(8):
        records = [{"text": f"Fact {i} of file {n}."} for i in range(40)]
        (tmp_path / f"{n}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    encoder = KeywordEncoder()
    for corpus in ("one", "two"):
        list(add_files(server, corpus, [tmp_path / "0.jsonl"], encoder))
    plan = {"one": ((1, 2, 3), (4, 5)), "two": ((6, 7),)}
    parts = [(corpus, [tmp_path / f"{n}.jsonl" for n in part]) for corpus, of in plan.items() for part in of]
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(run_forked, *((add_in_turns, (server, *part)) for part in parts))
        n_read = 0
        while not writing.done():
            for corpus in plan:
                assert PassageIndex.open(server, corpus, encoder).search("Fact 7 of file 0.", 5)
                n_read += 1
    assert n_read
    assert [each.code for each in writing.result()] == [0, 0, 0], writing.result()
    assert PassageIndex.open(server, "one", encoder).n_passages == 6 * 40
    assert PassageIndex.open(server, "two", encoder).n_passages == 3 * 40
    assert examine(server, "one") == examine(server, "two") == []


def test_a_server_that_is_down_is_a_sentence_without_the_token(paths: DataPaths, folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    down = DataPaths(paths.root, StoreSettings(url=address, token="my-secret"))
    with pytest.raises(StoreError, match=rf"server at {address} failed.*CHROMA_URL") as caught:
        list(add_files(down, "zoo", [folder], KeywordEncoder()))
    assert "my-secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_address_that_serves_something_else_is_a_sentence(server: DataPaths, folder: Path) -> None:
    elsewhere = DataPaths(server.root, StoreSettings(url=f"{server.store.url}/no/such/path"))
    with pytest.raises(StoreError, match="/no/such/path failed"):
        list(add_files(elsewhere, "zoo", [folder], KeywordEncoder()))


def test_the_token_is_sent_and_never_shown(url: str) -> None:
    store = StoreSettings(url=f"{url}/", token="my-secret")
    assert "my-secret" not in repr(DataPaths(Path(), store))
    assert connect(store).heartbeat() > 0


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"CHROMA_URL": "localhost:8000"}, "an address like"),
        ({"CHROMA_URL": "https://me:my-secret@host"}, "without a user"),
        ({"CHROMA_URL": "http://host:99999"}, "an address like"),
        ({"CHROMA_URL": "ftp://host"}, "an address like"),
        ({"CHROMA_TOKEN": "my-secret"}, "CHROMA_URL is not"),
        ({"CHROMA_URL": "http://host", "CHROMA_TOKEN": "my-secret twice"}, "Copy it again"),
        ({"CHROMA_URL": "https://api.trychroma.com", "CHROMA_TOKEN": "my-secret"}, "needs CHROMA_TENANT"),
    ],
)
def test_settings_that_do_not_go_together_are_refused_without_showing_a_secret(
    environment: dict[str, str], said: str
) -> None:
    with pytest.raises(InputError, match=said) as caught:
        read_store(environment)
    assert "my-secret" not in str(caught.value)


def test_a_variable_that_is_empty_counts_as_unset() -> None:
    store = read_store({"CHROMA_URL": "https://host.example/chroma/", "CHROMA_TENANT": " t ", "CHROMA_TOKEN": ""})
    assert (store.tenant, store.is_embedded, store.is_cloud) == ("t", False, False)
    assert read_store({"CHROMA_URL": ""}).is_embedded
