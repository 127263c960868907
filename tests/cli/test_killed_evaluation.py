"""An evaluation that is killed leaves a whole table, the old one or the new one."""

import json
import os
import random
import signal
import time

import pytest

from lmac_td import files
from tests.commands import EVALUATE, run
from tests.forks import fork_command, killed_after, wait_for

pytestmark = pytest.mark.slow

KILLS = 17  # at random moments


def kill_itself(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def before_the_exchange():
    files._exchange = kill_itself


def after_the_exchange(remove=kill_itself):
    """Before the old table, which has the new one's name, is removed."""
    exchange = files._exchange

    def exchange_and_prepare(*names):
        done = exchange(*names)
        files.shutil.rmtree = remove
        return done

    files._exchange = exchange_and_prepare


def while_the_old_one_is_removed():
    def remove_one(folder, **_):
        next(path for path in folder.rglob("*") if path.is_file()).unlink()
        kill_itself()

    after_the_exchange(remove_one)


EXACT = before_the_exchange, after_the_exchange, while_the_old_one_is_removed


def test_a_killed_evaluation_leaves_a_whole_table(with_trained):
    """Killed at random moments, and where the folder is replaced."""
    folder = with_trained("cnn14")
    recipe = folder / "evidence.yaml"
    common = {"condition": "in_domain", "n_samples": 1}
    common |= {"controls": False, "references": False}
    results = folder / "results" / "evidence"
    table = results / "evaluation_in_domain"
    run(EVALUATE, recipe, keep=0.25, **common)  # imports what the forked ones need
    begin = time.monotonic()
    assert wait_for(fork_command(EVALUATE, recipe, keep=0.5, **common)) == 0
    lasted = time.monotonic() - begin
    whole = files_of(table)
    assert kept_in(table) == 0.5

    draws, kills = random.Random(0), 0
    while kills < KILLS:
        new = (0.25, 0.5)[kills % 2]
        shares = {kept_in(table), new}
        child = fork_command(EVALUATE, recipe, keep=new, **common)
        kills += killed_after(lasted * draws.uniform(0.3, 1), child)
        assert files_of(table) == whole
        assert kept_in(table) in shares
    for prepare in EXACT:
        before = kept_in(table)
        new = 0.75 - before
        child = fork_command(EVALUATE, recipe, prepare=prepare, keep=new, **common)
        assert wait_for(child) == -signal.SIGKILL
        assert files_of(table) == whole
        assert kept_in(table) == (new if prepare in EXACT[1:] else before)

    run(EVALUATE, recipe, keep=0.25, **common)
    assert kept_in(table) == 0.25
    left = [path.name for path in results.glob(".*") if path.suffix != ".lock"]
    assert not left  # what the killed ones wrote is removed


def files_of(table):
    return {path.relative_to(table) for path in table.rglob("*") if path.is_file()}


def kept_in(table):
    """The share that the methods of a table keep; every file must be whole."""
    settings = json.loads((table / "table.json").read_text())["settings"]
    assert (table / "table.md").read_text().endswith("\n")
    return settings["recipe"]["keep"][0]
