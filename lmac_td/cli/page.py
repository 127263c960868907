"""Make the page of results again, or one page of several folders of results.

    lmac-td page explained/
    lmac-td page explained/dog explained/rain --out both/

It reads the clips.json that `lmac-td explain` and eval_faithfulness.py write, below the
folders that are named.
"""

import argparse

from lmac_td.cli.options import path, text
from lmac_td.errors import DataError, exit_on_user_error
from lmac_td.report.page.saved import CLIPS_FILE, link_clip, read_clips, save_clips
from lmac_td.report.page.write import write_page


def main(argv=None):
    """Write the page that the command line asks for, and print its path."""
    parser = _parser()
    options = parser.parse_args(argv)
    if options.out is None and len(options.results) > 1:
        parser.error("give --out for the page of several folders")
    out = options.out or options.results[0]
    clips = []
    for number, folder in enumerate(options.results):
        found = clips_below(folder)
        if out.resolve() != folder.resolve():
            place = out / f"{number}_{folder.resolve().name}"
            found = [link_clip(clip, folder, place) for clip in found]
        clips += found
    if options.out is not None:
        save_clips(out, clips)
    print(f"Page to listen and compare: {write_page(out, options.title, clips)}")


def clips_below(folder):
    """Return the clips of all pages in a folder or below it, in order of their paths.

    Raises
    ------
    DataError
        If there are none.
    """
    files = sorted(folder.rglob(CLIPS_FILE))
    if not files:
        raise DataError(
            f"{folder} holds no {CLIPS_FILE}: give a folder that `lmac-td explain` or "
            "eval_faithfulness.py wrote"
        )
    # The page of several folders lists their clips: those folders are not read again.
    folders = {file.parent for file in files}
    top = [file.parent for file in files if not folders & set(file.parent.parents)]
    return [clip for found in top for clip in read_clips(found)]


def _parser():
    parser = argparse.ArgumentParser(
        prog="lmac-td page",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("results", nargs="+", type=path, help="folders of results")
    parser.add_argument(
        "--out",
        type=path,
        help="folder of the page; by default the folder of results, if it is one",
    )
    parser.add_argument("--title", type=text, default="What made the classifier decide")
    return parser


command = exit_on_user_error()(main)

if __name__ == "__main__":
    command()
