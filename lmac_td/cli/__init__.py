"""The commands."""

from lmac_td.home import complete_environment

complete_environment()  # before a library asks who the user is
