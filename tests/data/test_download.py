"""Downloading from a server on loopback that can misbehave in every way."""

import hashlib
import http.server
import io
import stat
import threading
import zipfile

import pytest

from lmac_td.data import download
from lmac_td.data.download import ESC50_COMMIT, ESC50_SHA256, ESC50_URL
from lmac_td.errors import DownloadError


def download_esc50(folder, url, sha256=None):
    return download.download_esc50(folder, url, sha256)


GOOD = {
    "ESC-50-master/meta/esc50.csv": b"filename,fold,target,category\n",
    "ESC-50-master/audio/1-100032-A-0.wav": b"RIFF" + bytes(3000),
}


def zipped(members, link=None):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
        if link:
            info = zipfile.ZipInfo(link)
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            file.writestr(info, "/etc/passwd")
    return buffer.getvalue()


@pytest.fixture
def serve():
    """serve(body, **how) -> url"""
    servers = []

    def start(body, status=200, claimed=0, length=True):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status)
                if length:
                    self.send_header("Content-Length", str(claimed or len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/master.zip"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("length", [True, False])
def test_good_download(tmp_path, serve, length):
    folder = tmp_path / "data" / "ESC-50"
    assert download_esc50(folder, serve(zipped(GOOD), length=length)) == folder
    assert (folder / "audio" / "1-100032-A-0.wav").stat().st_size == 3004
    assert (folder / "meta" / "esc50.csv").is_file()
    assert list(folder.parent.iterdir()) == [folder]


def test_existing_folder_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").touch()
    download_esc50(tmp_path, "http://127.0.0.1:9/never-asked")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_empty_folder_is_filled(tmp_path, serve):
    (tmp_path / "ESC-50").mkdir()
    download_esc50(tmp_path / "ESC-50", serve(zipped(GOOD)))
    assert (tmp_path / "ESC-50" / "meta" / "esc50.csv").is_file()


def with_member(name):
    return zipped({**GOOD, name: b"evil"})


def flipped():
    """One bit of a stored file is wrong: only the checksum can tell."""
    body = bytearray(zipped(GOOD))
    body[body.index(b"RIFF") + 100] ^= 1
    return bytes(body)


@pytest.mark.parametrize(
    ("body", "how", "word"),
    [
        (b"gone", {"status": 404}, "404"),
        (b"down", {"status": 503}, "503"),
        (zipped(GOOD)[:-500], {"claimed": len(zipped(GOOD))}, "bytes"),
        (zipped(GOOD)[:-500], {}, "zip"),
        (zipped(GOOD)[:-500], {"length": False}, "zip"),
        (b"<html>please log in</html>", {}, "zip"),
        (b"", {}, "zip"),
        (flipped(), {}, "CRC"),
        (with_member("ESC-50-master/../../evil.txt"), {}, "outside"),
        (with_member("/evil.txt"), {}, "outside"),
        (with_member("ESC-50-master/..\\..\\evil.txt"), {}, "outside"),
        (with_member("evil.txt"), {}, "outside"),
        (zipped(GOOD, link="ESC-50-master/audio/evil.txt"), {}, "link"),
        (zipped({"ESC-50-master/README.md": b""}), {}, "esc50.csv"),
        (zipped({}), {}, "esc50.csv"),
    ],
)
def test_failures_leave_nothing(tmp_path, serve, body, how, word):
    url = serve(body, **how)
    root = tmp_path / "root"
    root.mkdir()
    with pytest.raises(DownloadError) as caught:
        download_esc50(root / "new" / "ESC-50", url)
    message = str(caught.value)
    assert word in message
    assert url in message
    assert "--data_folder" in message
    assert [path.name for path in tmp_path.rglob("*")] == ["root"]


def test_the_archive_of_a_commit_is_named_by_its_hash(tmp_path, serve):
    body = zipped(
        {name.replace("master", ESC50_COMMIT): part for name, part in GOOD.items()}
    )
    url, right = serve(body), hashlib.sha256(body).hexdigest()
    wrong = right.translate(str.maketrans("0123456789abcdef", "123456789abcdef0"))
    with pytest.raises(DownloadError, match=r"hash.*nothing was kept"):
        download_esc50(tmp_path / "ESC-50", url, wrong)
    assert list(tmp_path.iterdir()) == []
    download_esc50(tmp_path / "ESC-50", url, right)
    assert (tmp_path / "ESC-50" / "meta" / "esc50.csv").is_file()


def test_the_address_names_a_commit_and_a_hash():
    assert ESC50_URL.endswith(f"/{ESC50_COMMIT}.zip")
    assert len(bytes.fromhex(ESC50_COMMIT)) == 20
    assert len(bytes.fromhex(ESC50_SHA256)) == 32


def test_nobody_listens(tmp_path, serve):
    with pytest.raises(DownloadError, match="nothing was kept"):
        download_esc50(tmp_path / "ESC-50", "http://127.0.0.1:9/master.zip")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "ESC-50").write_text("not a folder")
    with pytest.raises(DownloadError, match="ESC-50"):
        download_esc50(tmp_path / "ESC-50", "http://127.0.0.1:9/never-asked")


@pytest.mark.parametrize("limit", ["MOST_FILES", "MOST_BYTES"])
def test_an_archive_that_unpacks_to_too_much_is_refused(
    tmp_path, serve, monkeypatch, limit
):
    monkeypatch.setattr(download, limit, 1)
    with pytest.raises(DownloadError, match="the archive unpacks to 2 files of 30"):
        download_esc50(tmp_path / "ESC-50", serve(zipped(GOOD)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
@pytest.mark.parametrize("step", ["_fetch", "_unpack"])
def test_interruption_leaves_nothing(tmp_path, serve, monkeypatch, step, error):
    original = getattr(download, step)

    def interrupted(*args):
        original(*args)
        raise error

    monkeypatch.setattr(download, step, interrupted)
    with pytest.raises(
        KeyboardInterrupt if error is KeyboardInterrupt else DownloadError
    ):
        download_esc50(tmp_path / "ESC-50", serve(zipped(GOOD)))
    assert list(tmp_path.iterdir()) == []
