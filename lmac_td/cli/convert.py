"""Convert published weights to folders that every command opens.

    lmac-td convert lmac_td CHECKPOINT --classifier fpaissan/r --out lmac_td
    lmac-td convert lmac CHECKPOINT/psi_model.ckpt --classifier fpaissan/r --out lmac
    lmac-td convert classifier speechbrain/cnn14-esc50 --out cnn14
    lmac-td convert nmf nmf_decoder.ckpt --out dictionary

Weights tell the widths of a network, but not the order of its classes, its sample rate
or the number of its attention heads. These are read from label_encoder.txt and
hyperparams.yaml beside the weights, as SpeechBrain's trainings write them, or given by
--labels and by settings of the recipe (--alpha 0.75). What no file tells is taken from
the published recipe, and printed.
"""

import argparse
from functools import partial

from lmac_td.cli.options import text
from lmac_td.convert.classifier import convert_classifier
from lmac_td.convert.dictionary import convert_dictionary
from lmac_td.convert.folders import check_new
from lmac_td.convert.interpreters import LMAC, LMAC_TD, convert_interpreter
from lmac_td.errors import SettingError, exit_on_user_error
from lmac_td.experiment.command_line import parse_arguments

KINDS = {
    "lmac_td": partial(convert_interpreter, LMAC_TD),
    "lmac": partial(convert_interpreter, LMAC),
    "classifier": convert_classifier,
    "nmf": convert_dictionary,
}
# The options that a kind does not have.
WITHOUT = {"classifier": ("classifier",), "nmf": ("classifier", "labels")}
# What to do with a converted folder.
NEXT = {
    "lmac_td": "lmac-td explain RECORDING --interpreter {folder}",
    "lmac": "lmac-td explain RECORDING --interpreter {folder}",
    "classifier": "lmac-td explain RECORDING --classifier {folder}",
    "nmf": "python train_interpreter.py hparams/l2i.yaml --nmf_dictionary {folder}",
}


def main(argv=None):
    """Convert what the command line names."""
    parser = _parser()
    options, rest = parser.parse_known_args(argv)
    check_new(options.out)
    arguments = {"classifier": options.classifier, "labels": options.labels}
    for name in WITHOUT.get(options.kind, ()):
        if arguments.pop(name) is not None:
            raise SettingError(f"{options.kind} takes no --{name}: leave it out")
    _, _, given = parse_arguments(["-".join(("convert", options.kind)), *rest])
    converted = KINDS[options.kind](
        options.source, options.out, given=given, **arguments
    )
    for note in converted.notes:
        print(note)
    assumed = converted.settings.assumed
    if assumed:
        told = ", ".join(f"{name} {value}" for name, value in assumed.items())
        print(
            "No file tells these settings, so they are those of the published recipe: "
            f"{told}. Give --NAME VALUE if the training had others."
        )
    print(f"Converted: {converted.folder}")
    print(f"Use it: {NEXT[options.kind].format(folder=converted.folder)}")


def _parser():
    parser = argparse.ArgumentParser(
        prog="lmac-td convert",
        usage="%(prog)s KIND SOURCE --out FOLDER [options] [--setting value ...]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("kind", choices=list(KINDS), help="what the weights are")
    parser.add_argument(
        "source",
        type=text,
        metavar="SOURCE",
        help="the folder of a checkpoint, or its file; of a classifier also a hub id",
    )
    parser.add_argument(
        "--out",
        required=True,
        type=text,
        metavar="FOLDER",
        help="a folder that does not exist",
    )
    parser.add_argument(
        "--classifier",
        type=text,
        metavar="SOURCE",
        help="of an interpreter: the classifier that it explains, a folder or a hub id "
        "(default: the one beside the checkpoint)",
    )
    parser.add_argument(
        "--labels",
        type=text,
        metavar="FILE",
        help="label_encoder.txt of the classifier's training (default: the one beside "
        "the weights)",
    )
    return parser


command = exit_on_user_error("nothing was written; give the same command again.")(main)


if __name__ == "__main__":
    command()
