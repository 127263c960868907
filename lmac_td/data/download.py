"""Fetch ESC-50 from its author's repository, whole or not at all."""

import os
import stat
import urllib.request
import zipfile
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from lmac_td.errors import DownloadError
from lmac_td.files import temporary_folder_beside

ESC50_URL = "https://github.com/karolpiczak/ESC-50/archive/master.zip"

# What the archive keeps everything in.
_ARCHIVE_ROOT = "ESC-50-master"
_CHUNK_BYTES = 1 << 20
_TIMEOUT_S = 60  # without a byte


def download_esc50(data_folder, url=ESC50_URL):
    """Download ESC-50 and unpack it, unless there is something already.

    Arguments
    ---------
    data_folder : str or Path
        Becomes the folder with ``audio/`` and ``meta/``. If it exists and is not
        empty nothing is done.
    url : str
        A zip archive that holds ``ESC-50-master/``.

    Returns
    -------
    Path
        ``data_folder``.

    Raises
    ------
    DownloadError
        The download is refused, cut short or not such an archive, or the disk is full.
        Nothing of it is kept.
    """
    data_folder = Path(data_folder)
    try:
        if data_folder.exists() and any(data_folder.iterdir()):
            return data_folder
        with temporary_folder_beside(data_folder) as scratch:
            archive = scratch / "archive.zip"
            _fetch(url, archive)
            _unpack(archive, scratch)
            os.replace(scratch / _ARCHIVE_ROOT, data_folder)
    # Whatever fails (network, archive, disk), the user needs the same sentence.
    except Exception as error:
        raise DownloadError(
            f"could not download ESC-50 from {url} to data_folder {data_folder} "
            f"({error}): nothing was kept; try again, or unpack {ESC50_URL} yourself "
            "and give its folder with --data_folder."
        ) from error
    return data_folder


def _fetch(url, destination):
    """Stream a URL to a file and check that it is all there."""
    with (
        urllib.request.urlopen(url, timeout=_TIMEOUT_S) as response,
        open(destination, "wb") as file,
    ):
        # Absent where a server packs the archive while it sends.
        length = response.headers.get("Content-Length")
        n_bytes = int(length) if length is not None else None
        with tqdm(total=n_bytes, unit="B", unit_scale=True, desc="ESC-50") as bar:
            while chunk := response.read(_CHUNK_BYTES):
                file.write(chunk)
                bar.update(len(chunk))
            if n_bytes is not None and bar.n != n_bytes:
                raise OSError(f"only {bar.n} of {n_bytes} bytes arrived")


def _unpack(archive, folder):
    """Unpack a zip archive of which every member stays inside the folder."""
    with zipfile.ZipFile(archive) as content:
        for member in content.infolist():
            name = PurePosixPath(member.filename.replace("\\", "/"))
            is_link = stat.S_ISLNK(member.external_attr >> 16)
            if is_link or ".." in name.parts or name.parts[:1] != (_ARCHIVE_ROOT,):
                raise zipfile.BadZipFile(
                    f"{member.filename!r} in the archive is a link or lies outside "
                    f"{_ARCHIVE_ROOT}/"
                )
        content.extractall(folder)  # compares each member's checksum
        if not (folder / _ARCHIVE_ROOT / "meta" / "esc50.csv").is_file():
            raise zipfile.BadZipFile("the archive holds no meta/esc50.csv")
