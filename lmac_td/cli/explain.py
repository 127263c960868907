"""Explain recordings of your own: which part of the sound made a classifier decide.

    lmac-td explain dog.wav
    lmac-td explain calls/ "more/*.mp3" --classifier path/to/my_ast --out explained
    lmac-td explain dog.wav --interpreter results/lmac_td/1234
    lmac-td explain dog.wav --target dog --target rain

Without --classifier it explains the reference classifier of ten sounds that is part of
this package, by a network that was trained for it. Each recording gets a folder with
interpretation.wav, residual.wav, figure.png and explanation.json, and sounds of several
sizes. index.html plays them all. Recordings may have any length, sample rate and number
of channels.
"""

import argparse
import math
import os
import sys
from dataclasses import replace
from pathlib import Path

from lmac_td.cli.options import text, typed
from lmac_td.errors import DataError, SettingError, exit_on_user_error
from lmac_td.files import replace_folder, temporary_folder_beside
from lmac_td.inference.classifier_recipe import is_recipe
from lmac_td.inference.dial import SHARES
from lmac_td.inference.framing import LONGEST_S
from lmac_td.inference.interpretation import DESCRIPTION
from lmac_td.inference.interpreter import AudioInterpreter
from lmac_td.inference.methods import EVIDENCE, builders
from lmac_td.inference.opening import AUTO
from lmac_td.inference.recordings import find_recordings, shown_names
from lmac_td.inference.sounds import Sound
from lmac_td.inference.targets import set_threshold
from lmac_td.interpreters.budgeted.base import SMALLEST, check_shares
from lmac_td.names import different_file_names
from lmac_td.report.page.saved import read_clips, save_clips
from lmac_td.report.page.write import write_page

SHOWN_LABELS = 20


def main(argv=None):
    """Explain the recordings that the command line names; return the exit code."""
    options = _parser().parse_args(argv)
    out = Path(options.out)
    check_shares("shares", options.shares)
    options.keep = None if options.keep is None else keep(options.keep)
    recordings = find_recordings(options.recordings, apart_from=out)
    names = different_file_names(path.stem for path in recordings)
    folders = [out / name for name in names]
    for folder in folders:
        check_replaceable(folder)
    interpreter = open_interpreter(options)
    if options.threshold is not None:
        set_threshold(interpreter.explainer.classifier, options.threshold)
    for target in options.target or ():
        interpreter.check_target(target)
    print(describe(interpreter, options))
    clips, failed = [], []
    shown = shown_names(recordings)
    for recording, name, folder in zip(recordings, shown, folders, strict=True):
        try:
            clips += explain(interpreter, recording, name, folder, options)
        except DataError as error:
            failed.append(recording)
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    if clips:
        title = "What made the classifier decide"
        print(f"Page to listen and compare: {write_page(out, title, clips)}")
    if failed:
        n_explained = len(recordings) - len(failed)
        print(
            f"{n_explained} of {len(recordings)} recordings were explained; not: "
            f"{', '.join(map(str, failed))}",
            file=sys.stderr,
        )
    return 2 if failed else 0


def open_interpreter(options):
    """Open the trained interpreter, or the method, that the command line names."""
    plain = options.method is None and options.activation == AUTO
    if explains_reference(options) and plain:
        share = {} if options.keep is None else {"keep": options.keep}
        return AudioInterpreter.from_hparams(
            overrides={"keep_by": "energy", **share},
            run_opts={"device": options.device} if options.device else None,
            **({} if options.window_s is None else {"window_s": options.window_s}),
        )
    if options.interpreter is None:
        return AudioInterpreter.from_classifier(
            options.classifier,
            options.method or EVIDENCE,
            keep=0.5 if options.keep is None else options.keep,
            device=options.device,
            trust=options.trust,
            activation=options.activation,
            window_s=options.window_s,
        )
    for name in ("method", "keep"):
        if getattr(options, name) is not None:
            raise SettingError(
                f"--{name} does not go with --interpreter, whose recipe says what is "
                "kept: leave one of them out"
            )
    if options.activation != AUTO:
        raise SettingError(
            "--activation does not go with --interpreter, whose classifier is known: "
            "leave one of them out"
        )
    if options.classifier is not None and is_recipe(options.classifier):
        raise SettingError(
            f"--classifier {options.classifier} is a recipe, which does not go with "
            "--interpreter: give the weights or the folder of the classifier, or leave "
            "it out"
        )
    overrides = {"pretrained_classifier": options.classifier}
    framing = {} if options.window_s is None else {"window_s": options.window_s}
    return AudioInterpreter.from_hparams(
        options.interpreter,
        overrides=overrides if options.classifier else None,
        run_opts={"device": options.device} if options.device else None,
        trust=options.trust,
        **framing,
    )


def explains_reference(options):
    """Return whether the command line names no classifier of its own."""
    return options.classifier is None and options.interpreter is None


def describe(interpreter, options):
    """Return which method explains which classifier, and what it knows."""
    labels = interpreter.labels
    known = ", ".join(labels[:SHOWN_LABELS])
    more = ", ..." if len(labels) > SHOWN_LABELS else ""
    classes = "1 class" if len(labels) == 1 else f"{len(labels)} classes"
    reference = explains_reference(options)
    which = "the reference classifier" if reference else "the classifier"
    return (
        f"{interpreter.method} explains {which} {interpreter.classifier_name} "
        f"({interpreter.sample_rate} Hz). It knows {classes}: "
        f"{known}{more}."
    )


def explain(interpreter, recording, name, folder, options):
    """Explain one recording; write its folder, and return the clips of the page.

    The page and the figure show the recording by its name.
    """
    results = interpret(interpreter, recording, options)
    if not results:
        sound = Sound(recording).name
        raise DataError(
            f"{sound}: no tag reaches the threshold, so none is explained: give "
            "--target decided for the most probable one, or a lower --threshold."
        )
    names = different_file_names(result.target for result in results)
    places = ["."] if len(results) == 1 else names
    clips = []
    with temporary_folder_beside(folder) as scratch:
        new = scratch / folder.name
        for place, result in zip(places, results, strict=True):
            result = replace(result, name=name)
            result.save(new / place)
            clips.append(result.page_clip(new / place))
        save_clips(new, clips)
        replace_folder(new, folder)
    for place, result in zip(places, results, strict=True):
        print(
            f"{recording}: {result.target}, p = {result.probability:.2f}; "
            f"kept ({100 * result.share_kept:.2g} % of the energy), "
            f"p = {result.probability_kept:.2f}; "
            f"removed, p = {result.probability_removed:.2f}: {folder / place}",
            flush=True,
        )
    return read_clips(folder)


def interpret(interpreter, recording, options):
    """Return the results for all targets of the command, each label once."""
    found = {}
    for target in options.target or [None]:
        results = interpreter.interpret_file(
            recording, target, shares=options.shares, progress=True
        )
        results = results if isinstance(results, list) else [results]
        found |= {result.target: result for result in results}
    return list(found.values())


def check_replaceable(folder):
    """Refuse a folder that cannot be written, or that this command did not write."""
    if not folder.exists():
        above = next(parent for parent in folder.parents if parent.exists())
        if not above.is_dir():
            raise SettingError(f"{above} is a file: give another --out")
        if not os.access(above, os.W_OK | os.X_OK):
            raise SettingError(f"{above} cannot be written: give another --out")
        return
    is_ours = folder.is_dir() and (
        any(folder.rglob(DESCRIPTION)) or not any(folder.iterdir())
    )
    if not is_ours:
        raise SettingError(
            f"{folder} exists and was not written by this command: give another --out"
        )


def keep(text):
    """Read the value of --keep."""
    if text == SMALLEST:
        return text
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise SettingError(
            f"keep is {text!r}: give --keep a share above 0 and up to 1, such as 0.3, "
            f"or {SMALLEST}"
        )
    return share


def _parser():
    parser = argparse.ArgumentParser(
        prog="lmac-td explain",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "recordings",
        nargs="+",
        type=text,
        metavar="CLIP",
        help="a file, a folder, or a pattern",
    )
    parser.add_argument(
        "--classifier",
        type=text,
        metavar="NAME",
        help="a hub id, or a folder, of transformers, SpeechBrain or this package; or "
        "a yaml file that builds a classifier",
    )
    parser.add_argument(
        "--interpreter",
        type=text,
        metavar="FOLDER",
        help="a trained interpreter: the output folder of a training, or a hub id",
    )
    parser.add_argument(
        "--method",
        type=text,
        metavar="NAME",
        help=f"without a trained interpreter: {', '.join(builders())} (default: "
        f"{EVIDENCE}; for the reference classifier a trained network)",
    )
    parser.add_argument(
        "--target",
        type=text,
        action="append",
        metavar="LABEL",
        help="what is explained: a label, its number, or decided. Give it again for "
        "further labels. Default: decided; of a tagger, each tag above the threshold",
    )
    parser.add_argument(
        "--keep",
        type=text,
        metavar="SHARE",
        help="share of the sound's energy that interpretation.wav keeps, or smallest: "
        "the smallest convincing share (default: 0.5)",
    )
    parser.add_argument(
        "--out",
        type=text,
        default="explained",
        metavar="DIR",
        help="folder of the results (default: %(default)s)",
    )
    parser.add_argument(
        "--shares",
        nargs="+",
        default=list(SHARES),
        metavar="SHARE",
        help="settings of the page's dial (default: %(default)s)",
        **typed("shares", "float", above=0, max=1),
    )
    parser.add_argument(
        "--activation",
        choices=[AUTO, "softmax", "sigmoid"],
        default=AUTO,
        help="of a classifier of transformers: sigmoid for taggers such as AudioSet's",
    )
    parser.add_argument(
        "--threshold",
        help="of tags (default: the classifier's, or 0.5)",
        **typed("threshold", "float", above=0, max=1),
    )
    parser.add_argument(
        "--window_s",
        metavar="SECONDS",
        help="length of the windows",
        **typed("window_s", "float", above=0, max=LONGEST_S),
    )
    parser.add_argument(
        "--device", type=text, help="cpu or cuda; by default a GPU, if there is one"
    )
    parser.add_argument(
        "--trust",
        action="store_true",
        help="allow a hub id to run code of its own",
    )
    return parser


@exit_on_user_error()
def command():
    """Run the command line; the exit code is 2 for a user's error."""
    sys.exit(main())


if __name__ == "__main__":
    command()
