import base64
import hashlib
import io
import json
import logging
import os
import re
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from stages.common.errors import FacetError
from stages.common.params import DownloadParams, load_params
from stages.download import celeba
from stages.download.network import drive
from stages.download.network.patience import Timings
from stages.download.network.services import cache_folder, describe_source, fetch_source, other_ways
from tests.conftest import ROOT
from tests.loopback import (
    LOGIN_PAGE,
    QUOTA_PAGE,
    Loopback,
    Reply,
    Request,
    Resource,
    cut_range,
    run_loopback,
    zip_bytes,
)
from tests.official_files import OfficialFolder

OFFICIAL = (
    "list_attr_celeba.txt",
    "list_eval_partition.txt",
    "identity_CelebA.txt",
    "img_align_celeba.zip",
)
FAST = Timings(connect_timeout_s=2.0, read_timeout_s=2.0, sleep=lambda _: None)
LICENCE = "non-commercial research only"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own: no cache, no credentials and no settings of whoever runs the tests."""
    for name in list(os.environ):
        if name.startswith(("KAGGLE", "HF_", "HUGGING", "FACET_CACHE", "XDG_")):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(home / ".kaggle"))
    return home


@pytest.fixture
def server() -> Iterator[Loopback]:
    with run_loopback() as loopback:
        yield loopback


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = OfficialFolder().write(tmp_path_factory.mktemp("official"))
    return {name: (folder / name).read_bytes() for name in OFFICIAL}


def make_params(source: str, **changes: Any) -> DownloadParams:
    plain = load_params(ROOT / "params.yaml").download
    return plain.model_copy(update={"source": source} | changes)


def read_files(folder: Path) -> dict[str, bytes]:
    """Visible files by relative name."""
    return {
        name: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "/." not in f"/{(name := path.relative_to(folder).as_posix())}"
    }


def refuse(params: DownloadParams) -> str:
    """The one line of a source that gives nothing."""
    with pytest.raises(FacetError) as caught:
        fetch_source(params, FAST)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"download.source={params.source}: ")
    assert message.endswith(other_ways(params.source))
    assert "not downloaded yet" in describe_source(params)
    return message


def test_where_the_cache_is(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == home / ".cache" / "facet"
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache_folder() == Path("/x/facet")
    monkeypatch.setenv("FACET_CACHE", "~/mine")
    assert cache_folder() == home / "mine"


@pytest.mark.parametrize("source", ["kaggle", "huggingface", "google_drive", "url"])
def test_other_ways_leave_out_the_one_that_failed(source: str) -> None:
    text = other_ways(source)
    assert f"download.source={source}" not in text
    assert text.count("download.source=") == (4 if source == "url" else 3)
    assert "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html" in text


def test_importing_and_describing_load_no_library() -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from stages.common.params import load_params\n"
        "from stages.download.network.services import describe_source\n"
        "for name in ('kaggle', 'huggingface', 'google_drive'):\n"
        "    params = load_params(Path('params.yaml')).download\n"
        "    print(describe_source(params.model_copy(update={'source': name})))\n"
        "print(sorted({'kagglehub', 'huggingface_hub', 'gdown'} & sys.modules.keys()))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "kaggle dataset jessicali9530/celeba-dataset, not downloaded yet",
        "huggingface dataset flwrlabs/celeba, not downloaded yet",
        "4 files of Google Drive, not downloaded yet",
        "[]",
    ]


def serve_folder(server: Loopback, files: dict[str, bytes], prefix: str = "/celeba/") -> None:
    for name, data in files.items():
        server.serve(prefix + name, data)


def test_url_of_a_folder(
    server: Loopback, official: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    serve_folder(server, official)
    params = make_params("url", url=f"http://me:SECRET@127.0.0.1:{server.port}/celeba/")
    assert describe_source(params) == f"url {server.address}/celeba/, not downloaded yet"
    with caplog.at_level(logging.INFO):
        folder = fetch_source(params, FAST)
        assert LICENCE in caplog.messages[0]
        assert read_files(folder) == official
        assert server.paths() == [f"/celeba/{name}" for name in OFFICIAL]
        assert folder.is_relative_to(cache_folder())
        assert describe_source(params) == f"url {server.address}/celeba/, in the cache"
        caplog.clear()
        assert fetch_source(params, FAST) == folder
    assert len(server.requests) == len(OFFICIAL)
    assert LICENCE not in caplog.text
    anonymous = make_params("url", url=f"{server.address}/celeba/")
    assert fetch_source(anonymous, FAST) == folder


def test_url_folder_without_what_may_be_missing(
    server: Loopback, official: dict[str, bytes]
) -> None:
    needed = {name: official[name] for name in (OFFICIAL[0], OFFICIAL[3])}
    serve_folder(server, needed)
    params = make_params("url", url=f"{server.address}/celeba/")
    assert read_files(fetch_source(params, FAST)) == needed
    fetch_source(params, FAST)
    assert len(server.requests) == len(OFFICIAL)


def test_url_folder_without_labels(server: Loopback, official: dict[str, bytes]) -> None:
    serve_folder(server, {"img_align_celeba.zip": official["img_align_celeba.zip"]})
    message = refuse(make_params("url", url=f"{server.address}/celeba/"))
    assert f"{server.address}/celeba/list_attr_celeba.txt: expected a file; got 404" in message
    assert "/celeba/img_align_celeba.zip" not in server.paths()  # the large one comes last


def test_url_folder_with_a_page_in_an_optional_files_place(
    server: Loopback, official: dict[str, bytes]
) -> None:
    serve_folder(server, official)
    server.serve("/celeba/list_eval_partition.txt", LOGIN_PAGE, content_type="text/html")
    message = refuse(make_params("url", url=f"{server.address}/celeba/"))
    assert "expected list_eval_partition.txt; got a login page" in message


@pytest.mark.parametrize(
    ("status", "page"),
    [
        pytest.param(403, b"<Error><Code>AccessDenied</Code></Error>", id="as S3 answers"),
        pytest.param(200, b"<html><title>404 Not Found</title></html>", id="as soft 404"),
        pytest.param(404, b"no", id="not found"),
    ],
)
def test_url_folder_without_its_optional_files(
    status: int,
    page: bytes,
    server: Loopback,
    official: dict[str, bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    serve_folder(server, official)
    for name in ("identity_CelebA.txt", "list_eval_partition.txt"):
        server.serve(f"/celeba/{name}", page, Reply(status=status), content_type="text/html")
    folder = fetch_source(make_params("url", url=f"{server.address}/celeba/"), FAST)
    assert sorted(read_files(folder)) == ["img_align_celeba.zip", "list_attr_celeba.txt"]
    assert "going on without list_eval_partition.txt" in caplog.text


def test_url_list_with_digests(server: Loopback, official: dict[str, bytes]) -> None:
    serve_folder(server, official, "/")
    name, data = "img_align_celeba.zip", official["img_align_celeba.zip"]
    labels = f"{server.address}/list_attr_celeba.txt"
    right = f"{server.address}/{name}#sha256={hashlib.sha256(data).hexdigest()}"
    folder = fetch_source(make_params("url", url=[labels, right]), FAST)
    assert sorted(read_files(folder)) == [name, "list_attr_celeba.txt"]
    message = refuse(make_params("url", url=f"{server.address}/{name}#md5={'0' * 32}"))
    assert f"expected md5 {'0' * 32}; got {hashlib.md5(data).hexdigest()}" in message


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        pytest.param(["https://a/x.zip", "https://b/x.zip"], "x.zip twice", id="one name twice"),
        pytest.param(["https://a/x.zip", "https://b/"], "a plain file name", id="folder in list"),
        pytest.param("https://a/..%2Fx.zip", "a plain file name", id="escape"),
        pytest.param("https://me:SECRET@a/x.zip#md5=1", "hex digits", id="digest"),
        pytest.param("https://me:SECRET@[a/x.zip", "expected an address", id="half an IPv6"),
    ],
)
def test_bad_addresses(url: str | list[str], expected: str) -> None:
    with pytest.raises(FacetError, match=expected) as caught:
        fetch_source(make_params("url", url=url), FAST)
    assert "SECRET" not in str(caught.value)


def test_a_cache_that_cannot_be_written(
    server: Loopback, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "file").write_text("")
    monkeypatch.setenv("FACET_CACHE", str(home / "file"))
    with pytest.raises(FacetError, match="file: expected a folder to write to; got: "):
        fetch_source(make_params("url", url=f"{server.address}/celeba/"), FAST)


def test_a_file_that_vanished_from_the_cache_is_fetched_again(
    server: Loopback, official: dict[str, bytes]
) -> None:
    serve_folder(server, official)
    params = make_params("url", url=f"{server.address}/celeba/")
    folder = fetch_source(params, FAST)
    (folder / "list_attr_celeba.txt").unlink()
    assert "not downloaded yet" in describe_source(params)
    assert read_files(fetch_source(params, FAST)) == official
    assert server.paths()[4:] == ["/celeba/list_attr_celeba.txt"]


# --- Google Drive: https://drive.google.com/uc?id=..., answered by the loopback server ---

IDS = {"img_align_celeba.zip": "id-of-the-zip", "list_attr_celeba.txt": "id-of-the-labels"}
CONFIRM_PAGE = (
    "<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body>"
    '<p class="uc-warning-caption">Google Drive can\'t scan this file for viruses.</p>'
    '<form id="download-form" action="https://drive.usercontent.google.com/download" method="get">'
    '<input type="submit" id="uc-download-link" value="Download anyway"/>'
    '<input type="hidden" name="id" value="{id}"><input type="hidden" name="export" '
    'value="download"><input type="hidden" name="confirm" value="t">'
    '<input type="hidden" name="uuid" value="4c1e"></form></body></html>'
)
PRIVATE_PAGE = b"<html><head><title>Sign in - Google Accounts</title></head><body></body></html>"
HTML = {"Content-Type": "text/html; charset=utf-8"}


class Drive:
    """Google Drive's two hosts: small files at once, large ones behind a form."""

    def __init__(self, server: Loopback) -> None:
        self.server = server
        self.pages: dict[str, bytes] = {}
        self.names: dict[str, str] = {}
        server.route("/drive.google.com/uc", self.answer)
        server.route("/drive.usercontent.google.com/download", self.download)

    def put(self, file_id: str, name: str, body: bytes, *replies: Reply) -> None:
        resource = self.server.serve(f"/drive/{file_id}", body, *replies, etag=None)
        resource.content_type = "application/octet-stream"
        self.names[file_id] = name

    def answer(self, request: Request) -> Reply:
        (file_id,) = request.query["id"]
        if file_id in self.pages:
            return Reply(200, self.pages[file_id], HTML)
        if self.names[file_id].endswith(".zip"):
            return Reply(200, CONFIRM_PAGE.replace("{id}", file_id).encode(), HTML)
        return self.send(request, file_id)

    def download(self, request: Request) -> Reply:
        (file_id,) = request.query["id"]
        assert request.query["confirm"] == ["t"]
        assert request.query["uuid"] == ["4c1e"]
        return self.send(request, file_id)

    def send(self, request: Request, file_id: str) -> Reply:
        resource = self.server.resources[f"/drive/{file_id}"]
        assert isinstance(resource, Resource)
        reply = resource.replies.pop(0) if resource.replies else Reply()
        status, body, extra = cut_range(request, reply.body or resource.body, resource.validators())
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Disposition": f'attachment; filename="{self.names[file_id]}"',
            **resource.validators(),
            **extra,
        }
        return Reply(reply.status or status, body, headers | reply.headers, cut=reply.cut)


@pytest.fixture
def google(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> Drive:
    """Requests to Google's hosts go to the loopback server; answers bear the asked address."""
    send = requests.adapters.HTTPAdapter.send

    def send_here(self: Any, request: Any, *args: Any, **options: Any) -> Any:
        asked = request.url
        parts = urlsplit(asked)
        assert parts.hostname is not None
        if parts.hostname.endswith("google.com"):
            request.url = f"{server.address}/{parts.hostname}{parts.path}?{parts.query}"
        response = send(self, request, *args, **options)
        request.url = response.url = asked
        return response

    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", send_here)
    return Drive(server)


def test_google_drive(
    google: Drive, home: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    archive, labels = zip_bytes(), b"1\nBald\n000001.jpg -1\n"
    google.put(IDS["img_align_celeba.zip"], "img_align_celeba.zip", archive)
    google.put(IDS["list_attr_celeba.txt"], "list_attr_celeba.txt", labels)
    params = make_params("google_drive", google_drive=IDS)
    with caplog.at_level(logging.INFO, logger="stages"):
        folder = fetch_source(params, FAST)
    assert read_files(folder) == {
        "img_align_celeba.zip": archive,
        "list_attr_celeba.txt": labels,
    }
    assert LICENCE in caplog.messages[0]
    assert "list_attr_celeba.txt is not CelebA's own byte for byte" in caplog.text
    n_requests = len(google.server.requests)
    assert n_requests == 3
    assert fetch_source(params, FAST) == folder
    assert len(google.server.requests) == n_requests
    assert describe_source(params) == "2 files of Google Drive, in the cache"
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert not (home / ".cache" / "gdown").exists()


def test_google_drive_goes_on_after_a_break(google: Drive) -> None:
    archive = zip_bytes(1_500_000)
    google.put("z", "a.zip", archive, Reply(cut=1_200_000))
    folder = fetch_source(make_params("google_drive", google_drive={"a.zip": "z"}), FAST)
    assert read_files(folder) == {"a.zip": archive}
    asked = google.server.ranges("/drive.usercontent.google.com/download")
    assert asked[0] is None
    assert asked[-1] == "bytes=1048576-"  # gdown writes blocks of 512 KiB


def test_google_drive_wrong_bytes_after_a_break_are_tried_once_more(
    google: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = zip_bytes(700_000)
    md5 = hashlib.md5(archive, usedforsecurity=False).hexdigest()
    monkeypatch.setitem(celeba.MD5, "img_align_celeba.zip", md5)
    damaged = Reply(body=b"PK" + bytes(len(archive) - 2), cut=600_000)
    google.put(drive.OFFICIAL_ZIP, "img_align_celeba.zip", archive, damaged)
    files = {"img_align_celeba.zip": drive.OFFICIAL_ZIP}
    folder = fetch_source(make_params("google_drive", google_drive=files), FAST)
    assert read_files(folder) == {"img_align_celeba.zip": archive}


def test_google_drive_busy_and_back(google: Drive) -> None:
    google.put("t", "a.txt", b"text", Reply(503), Reply(429, headers={"Retry-After": "3"}))
    waits: list[float] = []
    timings = Timings(sleep=waits.append)
    fetch_source(make_params("google_drive", google_drive={"a.txt": "t"}), timings)
    assert waits == [1.0, 3.0]


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        pytest.param(QUOTA_PAGE, "quota is used up (try again in a day)", id="quota"),
        pytest.param(PRIVATE_PAGE, "not shared with everybody", id="login"),
        pytest.param(b"<html>Error 404</html>", "no such file", id="no such file"),
    ],
)
def test_google_drive_serves_a_page(google: Drive, page: bytes, expected: str) -> None:
    google.pages["z"] = page
    message = refuse(make_params("google_drive", google_drive={"img_align_celeba.zip": "z"}))
    assert expected in message
    assert "img_align_celeba.zip of Google Drive (id z)" in message


def test_google_drive_knows_the_official_zip(google: Drive) -> None:
    archive = zip_bytes()
    google.put(drive.OFFICIAL_ZIP, "img_align_celeba.zip", archive)
    files = {"img_align_celeba.zip": drive.OFFICIAL_ZIP}
    message = refuse(make_params("google_drive", google_drive=files))
    got = hashlib.md5(archive, usedforsecurity=False).hexdigest()
    assert f"got MD5 {got} instead of 00d2c5bc6d35e252742224ab0c1e8fcb" in message
    assert make_params("google_drive").google_drive["img_align_celeba.zip"] == drive.OFFICIAL_ZIP


def test_google_drive_removes_a_page_that_calls_itself_a_zip(google: Drive) -> None:
    google.put("z", "a.zip", LOGIN_PAGE)
    message = refuse(make_params("google_drive", google_drive={"a.zip": "z"}))
    assert "expected a.zip; got a login page" in message
    assert not [path for path in cache_folder().rglob("a.zip*") if path.is_file()]


# --- Hugging Face: the hub's API, and files behind a signed address ---

COMMIT = "1" * 40
REPO = "someone/celeba"
SHARDS = {
    "data/train-00000-of-00001.parquet": b"PAR1" + bytes(200_000) + b"PAR1",
    "data/test-00000-of-00001.parquet": b"PAR1" + b"test" * 100 + b"PAR1",
}


class Hub:
    """What huggingface.co answers for one dataset with LFS files."""

    def __init__(self, server: Loopback) -> None:
        self.server = server
        self.files = {**SHARDS, "README.md": b"# CelebA", "extra.csv": b"a,b"}
        self.sha256 = {name: hashlib.sha256(data).hexdigest() for name, data in self.files.items()}
        self.refusal: Reply | None = None
        self.wrong: list[Reply] = []
        self.wrong_tree: list[Reply] = []
        server.route("/api/datasets/*", self.api)
        server.route(f"/datasets/{REPO}/resolve/*", self.resolve)
        for name, data in self.files.items():
            server.serve(f"/lfs/{name}", data)

    def api(self, request: Request) -> Reply:
        if self.wrong:
            return self.wrong.pop(0)
        if self.refusal is not None:
            return self.refusal
        if "/tree/" in request.path and self.wrong_tree:
            return self.wrong_tree.pop(0)
        if "/tree/" in request.path:
            entries = [
                {
                    "type": "file",
                    "path": name,
                    "size": len(data),
                    "oid": "2" * 40,
                    "lfs": {"size": len(data), "oid": self.sha256[name], "pointerSize": 134},
                }
                for name, data in self.files.items()
            ]
            return make_json(entries)
        siblings = [
            {
                "rfilename": name,
                "size": len(data),
                "blobId": "2" * 40,
                "lfs": {"size": len(data), "sha256": self.sha256[name], "pointerSize": 134},
            }
            for name, data in self.files.items()
        ]
        return make_json({"id": REPO, "sha": COMMIT, "siblings": siblings})

    def resolve(self, request: Request) -> Reply:
        name = request.path.partition(f"/resolve/{COMMIT}/")[2]
        return Reply(
            302,
            b"",
            {
                "Location": f"{self.server.address.replace('127.0.0.1', 'localhost')}/lfs/{name}"
                "?Signature=SECRET",
                "X-Repo-Commit": COMMIT,
                "X-Linked-Size": str(len(self.files[name])),
                "X-Linked-Etag": f'"{self.sha256[name]}"',
            },
        )


def make_json(value: object, status: int = 200, **headers: str) -> Reply:
    kind = {"Content-Type": "application/json; charset=utf-8"}
    return Reply(status, json.dumps(value).encode(), kind | headers)


def deny(status: int, code: str) -> Reply:
    headers = {"X-Error-Code": code, "X-Error-Message": code}
    return Reply(status, b'{"error": "no"}', {"Content-Type": "application/json"} | headers)


@pytest.fixture
def hub(server: Loopback, home: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    from huggingface_hub import constants

    point_hub(monkeypatch, server.address)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
    return Hub(server)


def point_hub(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """As $HF_ENDPOINT does, which the library reads when it is imported."""
    from huggingface_hub import constants

    template = f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def test_huggingface(
    hub: Hub,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_SECRET")
    params = make_params("huggingface", huggingface=REPO)
    with caplog.at_level(logging.INFO, logger="stages"):
        folder = fetch_source(params, FAST)
    assert read_files(folder) == SHARDS
    assert not [path for path in folder.rglob("*") if path.is_symlink()]
    assert LICENCE in caplog.messages[0]
    assert f"{REPO} at commit {COMMIT[:12]}" in caplog.text
    asked = hub.server.requests
    assert asked[0].headers["authorization"] == "Bearer hf_SECRET"
    assert not [r for r in asked if r.path.startswith("/lfs/") and "authorization" in r.headers]
    n_requests = len(asked)
    assert fetch_source(params, FAST) == folder
    assert len(asked) == n_requests
    assert describe_source(params) == f"huggingface dataset {REPO}, in the cache"
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert "SECRET" not in caplog.text


def test_huggingface_revision(hub: Hub) -> None:
    fetch_source(make_params("huggingface", huggingface=f"{REPO}@refs/convert/parquet"), FAST)
    assert hub.server.paths()[0] == f"/api/datasets/{REPO}/revision/refs/convert/parquet"


def test_huggingface_goes_on_after_a_break(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 50_000)  # of 10 MB
    name = "data/train-00000-of-00001.parquet"
    hub.server.serve(f"/lfs/{name}", SHARDS[name], Reply(cut=100_000))
    folder = fetch_source(make_params("huggingface", huggingface=REPO), FAST)
    assert read_files(folder) == SHARDS
    assert hub.server.ranges(f"/lfs/{name}") == [None, "bytes=100000-"]


def test_huggingface_busy_and_back(hub: Hub) -> None:
    hub.wrong = [Reply(503), Reply(429, headers={"Retry-After": "5"})]
    waits: list[float] = []
    fetch_source(make_params("huggingface", huggingface=REPO), Timings(sleep=waits.append))
    assert waits == [1.0, 5.0]


def test_huggingface_lists_no_files_with_half_of_them_there(hub: Hub) -> None:
    name = "data/test-00000-of-00001.parquet"
    folder = cache_folder() / "huggingface" / "someone--celeba" / "files"
    (folder / "data").mkdir(parents=True)
    (folder / name).write_bytes(SHARDS[name])
    (folder.parent / "commit").write_text(COMMIT)
    hub.wrong_tree = [deny(403, "")]
    assert read_files(fetch_source(make_params("huggingface", huggingface=REPO), FAST)) == SHARDS


def test_huggingface_commit_moved_between_runs(hub: Hub) -> None:
    params = make_params("huggingface", huggingface=REPO)
    folder = cache_folder() / "huggingface" / "someone--celeba" / "files"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "train-00000-of-00002.parquet").write_bytes(b"PAR1 of another commit")
    (folder.parent / "commit").write_text("0" * 40)
    assert read_files(fetch_source(params, FAST)) == SHARDS


def test_huggingface_verifies_sha256(hub: Hub) -> None:
    name = "data/test-00000-of-00001.parquet"
    hub.server.serve(f"/lfs/{name}", bytes(reversed(SHARDS[name])))
    message = refuse(make_params("huggingface", huggingface=REPO))
    assert re.search(rf"expected {name}; got sha256 \w{{64}} instead of \w{{64}}", message)
    assert "SECRET" not in message
    hub.server.serve(f"/lfs/{name}", SHARDS[name])
    assert read_files(fetch_source(make_params("huggingface", huggingface=REPO), FAST)) == SHARDS


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        pytest.param(deny(403, "GatedRepo"), "accept the terms on the dataset's page", id="gated"),
        pytest.param(deny(401, "RepoNotFound"), "none of that name, or a private one", id="none"),
        pytest.param(deny(404, "RevisionNotFound"), "expected the revision", id="revision"),
        pytest.param(deny(401, ""), "got 401 (it asks for a login); log in with", id="401"),
        pytest.param(deny(403, ""), "got 403 (access is refused); log in with", id="403"),
        pytest.param(deny(503, ""), "answer 503", id="503 for good"),
        pytest.param(deny(429, ""), "too many requests", id="429 for good"),
        pytest.param(Reply(200, LOGIN_PAGE, HTML), "got another answer", id="page"),
        pytest.param(make_json({"sha": COMMIT, "siblings": []}), "expected Parquet", id="empty"),
    ],
)
def test_huggingface_refuses(hub: Hub, refusal: Reply, expected: str) -> None:
    if "siblings" in (refusal.body or b"").decode():
        refusal = make_json({"id": REPO, "sha": COMMIT, "siblings": []})
    hub.refusal = refusal
    message = refuse(make_params("huggingface", huggingface=REPO))
    assert expected in message
    assert f"huggingface dataset {REPO}: " in message


def test_huggingface_without_network(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    point_hub(monkeypatch, "http://no-such-host.invalid")
    assert "the name of its host is not known" in refuse(
        make_params("huggingface", huggingface=REPO)
    )
    hub.server.stop()
    point_hub(monkeypatch, hub.server.address)
    assert "connection refused" in refuse(make_params("huggingface", huggingface=REPO))


# --- Kaggle: remote calls as JSON, and the archive behind a signed address ---

HANDLE = "someone/celeba-dataset"


def kaggle_files() -> dict[str, bytes]:
    return {
        "list_attr_celeba.csv": b"image_id,Bald\n000001.jpg,-1\n",
        "img_align_celeba/img_align_celeba/000001.jpg": bytes(range(256)) * 1000,
    }


def kaggle_archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in kaggle_files().items():
            archive.writestr(name, data)
    return buffer.getvalue()


ARCHIVE = kaggle_archive()


class Kaggle:
    """What api.kaggle.com and its storage answer for one dataset."""

    def __init__(self, server: Loopback) -> None:
        self.server = server
        self.version = 2
        self.refusals: list[Reply] = []
        self.refusal: Reply | None = None
        service = "/v1/datasets.DatasetApiService"
        server.route(f"{service}/GetDataset", self.get_dataset)
        server.route(f"{service}/DownloadDataset", self.download)
        self.put(ARCHIVE)

    def put(self, body: bytes, *replies: Reply) -> None:
        resource = self.server.serve("/storage/archive.zip", body, *replies)
        resource.content_type = "application/zip"

    def get_dataset(self, request: Request) -> Reply:
        assert request.method == "POST"
        if self.refusals:
            return self.refusals.pop(0)
        if self.refusal is not None:
            return self.refusal
        asked = json.loads(request.body)
        owner, name = asked["ownerSlug"], asked["datasetSlug"]
        return make_json(
            {"id": 29561, "ref": f"{owner}/{name}", "currentVersionNumber": self.version}
        )

    def download(self, request: Request) -> Reply:
        asked = json.loads(request.body)
        assert asked["datasetVersionNumber"] in (self.version, 1)
        where = f"{self.server.address}/storage/archive.zip?X-Goog-Signature=SECRET"
        return Reply(302, b"", {"Location": where})


@pytest.fixture
def kaggle(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> Kaggle:
    from kagglesdk import kaggle_env

    endpoints = kaggle_env._env_to_endpoint
    monkeypatch.setitem(endpoints, kaggle_env.KaggleEnv.PROD, server.address)
    return Kaggle(server)


def goog_hash(body: bytes) -> dict[str, str]:
    digest = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
    return {"X-Goog-Hash": f"crc32c=n03x6A==,md5={digest}"}


def test_kaggle(
    kaggle: Kaggle,
    home: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    (home / ".kaggle").mkdir()
    (home / ".kaggle" / "kaggle.json").write_text('{"username": "anna", "key": "SECRET"}')
    params = make_params("kaggle", kaggle=HANDLE)
    with caplog.at_level(logging.INFO, logger="stages"):
        folder = fetch_source(params, FAST)
    assert read_files(folder) == kaggle_files()
    assert folder.is_relative_to(cache_folder())
    assert LICENCE in caplog.messages[0]
    assert "fetching kaggle dataset someone/celeba-dataset from Kaggle (256." in caplog.text
    asked = kaggle.server.requests
    basic = base64.b64encode(b"anna:SECRET").decode()
    assert asked[0].headers["authorization"] == f"Basic {basic}"
    n_requests = len(asked)
    assert fetch_source(params, FAST) == folder
    assert len(asked) == n_requests
    assert describe_source(params) == f"kaggle dataset {HANDLE}, in the cache"
    newest = make_params("kaggle", kaggle=f"{HANDLE}/versions/2")
    assert fetch_source(newest, FAST) == folder
    older = make_params("kaggle", kaggle=f"{HANDLE}/versions/1")
    assert "not downloaded yet" in describe_source(older)
    assert fetch_source(older, FAST).name == "1"
    assert fetch_source(params, FAST) == folder
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert "SECRET" not in caplog.text
    assert "KAGGLEHUB_CACHE" not in os.environ


def test_kaggle_goes_on_after_a_break(kaggle: Kaggle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kagglehub.clients.CHUNK_SIZE", 50_000)  # of 1 MiB
    kaggle.put(ARCHIVE, Reply(cut=100_000, headers=goog_hash(ARCHIVE)))
    folder = fetch_source(make_params("kaggle", kaggle=HANDLE), FAST)
    assert read_files(folder) == kaggle_files()
    assert kaggle.server.ranges("/storage/archive.zip") == [None, None, "bytes=100000-"]


def test_kaggle_stalls(kaggle: Kaggle) -> None:
    kaggle.put(ARCHIVE, Reply(cut=100_000, stall=True))
    timings = Timings(read_timeout_s=0.3, sleep=lambda _: None)
    began = time.monotonic()
    folder = fetch_source(make_params("kaggle", kaggle=HANDLE), timings)
    assert read_files(folder) == kaggle_files()
    assert time.monotonic() - began < 10  # the server would stay silent for 20 seconds


def test_kaggle_busy_and_back(kaggle: Kaggle) -> None:
    kaggle.refusals = [Reply(429, headers={"Retry-After": "9"}), Reply(503)]
    waits: list[float] = []
    fetch_source(make_params("kaggle", kaggle=HANDLE), Timings(sleep=waits.append))
    assert waits == [9.0, 2.0]


def test_kaggle_archive_is_verified(kaggle: Kaggle) -> None:
    wrong = Reply(headers=goog_hash(b"another"))
    kaggle.put(ARCHIVE, wrong)
    folder = fetch_source(make_params("kaggle", kaggle=f"{HANDLE}/versions/1"), FAST)
    assert read_files(folder) == kaggle_files()
    kaggle.put(ARCHIVE, wrong, wrong)  # version 1 in the cache is not the current one
    assert "got a damaged one" in refuse(make_params("kaggle", kaggle=HANDLE))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(LOGIN_PAGE, "expected a zip archive; got a login page", id="login page"),
        pytest.param(b"PK\3\4 and no more", "got a damaged one", id="no archive"),
    ],
)
def test_kaggle_sends_no_archive(kaggle: Kaggle, body: bytes, expected: str) -> None:
    kaggle.put(body)
    message = refuse(make_params("kaggle", kaggle=HANDLE))
    assert expected in message
    assert not list(cache_folder().rglob("*.archive"))


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        pytest.param(
            make_json({"code": 401, "message": "Unauthenticated"}, 401),
            "asks for a login); make a token on https://www.kaggle.com/settings",
            id="401",
        ),
        pytest.param(
            make_json({"code": 403, "message": "Permission 'datasets.get' was denied"}, 403),
            "access is refused); make a token",
            id="403",
        ),
        pytest.param(
            make_json({"code": 404, "message": "Not found"}, 404),
            "got 404 (there is none of that name); a private one needs credentials",
            id="404",
        ),
        pytest.param(make_json({"code": 429, "message": ""}, 429), "too many requests", id="429"),
        pytest.param(Reply(200, LOGIN_PAGE, HTML), "expected facts as JSON", id="page"),
    ],
)
def test_kaggle_refuses(kaggle: Kaggle, refusal: Reply, expected: str) -> None:
    kaggle.refusal = refusal
    message = refuse(make_params("kaggle", kaggle=HANDLE))
    assert expected in message
    assert message.startswith(f"download.source=kaggle: kaggle dataset {HANDLE}: ")


def test_kaggle_with_damaged_credentials(kaggle: Kaggle, home: Path) -> None:
    (home / ".kaggle").mkdir()
    (home / ".kaggle" / "kaggle.json").write_text('{"username": "SECRET"}')
    message = refuse(make_params("kaggle", kaggle=HANDLE))
    assert "expected a username and a key in kaggle.json" in message
    assert "SECRET" not in message


def test_kaggle_without_network(kaggle: Kaggle) -> None:
    kaggle.server.stop()
    assert "connection refused" in refuse(make_params("kaggle", kaggle=HANDLE))
