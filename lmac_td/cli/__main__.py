"""All commands under one name: ``lmac-td VERB [arguments]``."""

import sys

from lmac_td.cli import run
from lmac_td.errors import exit_on_user_error

VERBS = {
    "explain": "explain recordings of your own, and make a page of them",
    "train": "train an interpreter of a frozen classifier",
    "evaluate": "score interpreters",
    "compare": "put several evaluations in one table",
    "benchmark": "train and measure everything that a file lists",
    "sweep": "train and score a recipe with several values of its settings",
    "cross-validate": "train and score a recipe once for each fold of a data set",
    "train-classifier": "train the classifier to be explained",
    "train-nmf": "learn the dictionary of L2I",
    "convert": "convert published weights to folders that every command opens",
    "randomise": "randomise the classifier stage by stage and compare explanations",
    "stability": "add noise below the masking threshold and compare explanations",
    "roar": "remove the bins that explanations rank first, and train again",
    "draw-samples": "draw mixtures, masks and what is kept of an evaluation's samples",
    "listening-test": "let people rate explanations with webMUSHRA",
    "page": "make the page of results again, or one of several folders",
    "show": "print a recipe with the roles of its settings",
}


def usage() -> str:
    """Return all verbs, one per line."""
    lines = [f"  {verb:<18}{what}" for verb, what in VERBS.items()]
    return "\n".join(
        ["usage: lmac-td VERB [arguments]; lmac-td VERB --help", "", *lines]
    )


@exit_on_user_error(many_processes=True)  # each command checks their number
def command():
    """Run the verb that the command line names; exit code 2 if there is none."""
    verb, *arguments = sys.argv[1:] or ["--help"]
    if verb in ("-h", "--help"):
        print(usage())
        sys.exit(0)
    if verb not in VERBS:
        print(f"error: there is no verb {verb!r}\n{usage()}", file=sys.stderr)
        sys.exit(2)
    sys.argv = [f"lmac-td {verb}", *arguments]
    run(verb.replace("-", "_"))


if __name__ == "__main__":
    command()
