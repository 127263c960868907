"""Fetch ESC-50 from its author's repository, whole or not at all.

The address names a commit, so the content cannot change. The archive is packed by
GitHub, which promises the same content, not the same bytes: if GitHub packs it
differently one day, its hash is another one. :func:`download_esc50` then refuses it and
names the remedy.
"""

import logging
import os
import stat
import zipfile
from pathlib import Path, PurePosixPath

import pooch

from lmac_td.errors import DownloadError
from lmac_td.files import temporary_folder_beside

# The head of the master branch in November 2025.
ESC50_COMMIT = "33c8ce9eb2cf0b1c2f8bcf322eb349b6be34dbb6"
ESC50_URL = f"https://github.com/karolpiczak/ESC-50/archive/{ESC50_COMMIT}.zip"
# Of the 645 832 161 bytes that GitHub serves for this address, as two other projects
# recorded independently of each other; it was not downloaded for this one.
ESC50_SHA256 = "661183a6f53ef04f12c9bd618fed0ddc1713280d6c94a5a5431e844ba6f6a21f"

_LISTING = PurePosixPath("meta/esc50.csv")
# ESC-50 has 2000 recordings and 0.9 GB. An archive that unpacks to more is refused.
MOST_FILES, MOST_BYTES = 10_000, 4 << 30
_CHUNK_BYTES = 1 << 20
_TIMEOUT_S = 60  # without a byte


def download_esc50(
    data_folder: str | Path, url: str = ESC50_URL, sha256: str | None = ESC50_SHA256
) -> Path:
    """Download ESC-50 and unpack it, unless there is something already.

    Arguments
    ---------
    data_folder : str or Path
        Becomes the folder with ``audio/`` and ``meta/``. If it exists and is not
        empty nothing is done.
    url : str
        A zip archive with one folder, which holds ``meta/esc50.csv``.
    sha256 : str, optional
        The archive's hash; None accepts every archive, such as that of a branch, whose
        hash changes. In both cases the checksum of each file in it is compared.

    Returns
    -------
    Path
        ``data_folder``.

    Raises
    ------
    DownloadError
        The download is refused, cut short, has another hash or is not such an archive,
        or the disk is full. Nothing of it is kept.
    """
    data_folder = Path(data_folder)
    try:
        if data_folder.exists() and any(data_folder.iterdir()):
            return data_folder
        with temporary_folder_beside(data_folder) as scratch:
            archive = scratch / "archive.zip"
            _fetch(url, archive, sha256)
            os.replace(_unpack(archive, scratch / "unpacked"), data_folder)
    # Whatever fails (network, archive, disk), the user needs the same sentence.
    except Exception as error:
        problem = " ".join(str(error).split())
        raise DownloadError(
            f"could not download ESC-50 from {url} to data_folder {data_folder} "
            f"({problem}): nothing was kept; try again, or unpack {ESC50_URL} yourself "
            "and give its folder with --data_folder."
        ) from error
    return data_folder


def _fetch(url, destination, sha256):
    """Stream a URL to a file and check its hash."""
    pooch.get_logger().setLevel(logging.WARNING)
    pooch.retrieve(
        url,
        known_hash=sha256 and f"sha256:{sha256}",
        fname=destination.name,
        path=destination.parent,
        downloader=pooch.HTTPDownloader(
            progressbar=True, chunk_size=_CHUNK_BYTES, timeout=_TIMEOUT_S
        ),
    )


def _unpack(archive, folder):
    """Unpack a zip archive of one folder, in which every member stays; return it."""
    with zipfile.ZipFile(archive) as content:
        names = [PurePosixPath(name) for name in content.namelist()]
        root = next((n.parts[0] for n in names if n.parts[1:] == _LISTING.parts), None)
        if root is None:
            raise zipfile.BadZipFile(f"the archive holds no {_LISTING}")
        members = content.infolist()
        n_bytes = sum(member.file_size for member in members)
        if len(members) > MOST_FILES or n_bytes > MOST_BYTES:
            raise zipfile.BadZipFile(
                f"the archive unpacks to {len(members)} files of {n_bytes} bytes, more "
                f"than {MOST_FILES} files or {MOST_BYTES} bytes"
            )
        for member in members:
            name = PurePosixPath(member.filename.replace("\\", "/"))
            is_link = stat.S_ISLNK(member.external_attr >> 16)
            if is_link or ".." in name.parts or name.parts[:1] != (root,):
                raise zipfile.BadZipFile(
                    f"{member.filename!r} in the archive is a link or lies outside "
                    f"{root}/"
                )
        content.extractall(folder)  # compares each member's checksum
    return folder / root
