"""Print a composed recipe, with the role and type of each setting.

    python recipes/show.py hparams/lmac_td.yaml [--size small] [--setting value ...]

The recipe is merged with the files that it extends, its size, its data and the settings
that are given. No object is built and no file is written. Roles:

    training    fixed when a run is resumed or measured
    evaluation  an evaluation may choose another value
    mixture     evaluations in one table must agree in it
    run         changes neither training nor scores
    pretrained  names what an earlier command trained
"""

import sys

from lmac_td.errors import exit_on_user_error
from lmac_td.experiment.build import typed_recipe
from lmac_td.experiment.command_line import parse_arguments, wants_help
from lmac_td.experiment.description import recipe_to_yaml


def main(argv: list[str] | None = None):
    """Print the recipe that the command line names."""
    argv = sys.argv[1:] if argv is None else argv
    if wants_help(argv):
        print(__doc__.strip())
        return
    recipe, _, given = parse_arguments(argv)
    print(recipe_to_yaml(typed_recipe(recipe, given)), end="")


command = exit_on_user_error()(main)

if __name__ == "__main__":
    command()
