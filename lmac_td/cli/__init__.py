"""The commands."""

import importlib

from lmac_td.errors import exit_on_user_error
from lmac_td.home import complete_environment

complete_environment()  # before a library asks who the user is


def run(name: str) -> None:
    """Import a command and run it.

    Imports take seconds. Ctrl-C and SIGTERM end them with a sentence, too.

    Arguments
    ---------
    name : str
        A module of this package, such as ``train``.
    """
    with exit_on_user_error(many_processes=True):  # the command checks their number
        command = importlib.import_module(f"{__name__}.{name}").command
        command()
