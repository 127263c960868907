"""Parts of an evaluation: what a shard scored, on the disk, and how parts are joined.

The parts lie beside the evaluation's folder, in ``<evaluation>.parts/<i>-of-<n>``. A
part gets its name when it is complete, so a killed shard leaves none, and a shard that
has one is not scored again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

from lmac_td.cli.evaluation import (
    PAGE,
    SAMPLES,
    SCORES,
    Evaluation,
    evaluation_page,
    remarks_of,
    score_conditions,
)
from lmac_td.errors import DataError, SettingError
from lmac_td.evaluation.shards import Shard, batches_of, join_frames, save_frame
from lmac_td.evaluation.table import FaithfulnessTable
from lmac_td.experiment.fingerprint import fingerprint_of_network
from lmac_td.files import replace_folder, write_atomically
from lmac_td.reading import read_json

DONE = "part.json"  # written last
METHOD_TABLE, QUANTUS = "method_table", "quantus"


def folder_of_parts(evaluation: Evaluation) -> Path:
    """Return the folder of all parts of an evaluation."""
    return evaluation.folder.with_name(f"{evaluation.folder.name}.parts")


def score_part(evaluation: Evaluation, shard: Shard) -> None:
    """Score a shard, unless its part is there already.

    Arguments
    ---------
    evaluation : Evaluation
    shard : Shard

    Raises
    ------
    SettingError
        If another process scores this shard, or the recipe's ``method_table`` cannot be
        joined.
    """
    check_joins(evaluation)
    folder = folder_of_parts(evaluation) / shard.name
    made_from = identity_of(evaluation)
    with evaluation.experiment.evaluation(folder) as new:
        if (folder / DONE).exists():
            if not differences(read_done(folder), made_from):
                print(f"Shard {shard} is done already: {folder}")
                return
            print(f"Shard {shard} was scored with other settings: it is scored again")
        table, page = score_conditions(evaluation, new, shard)
        new.mkdir(parents=True, exist_ok=True)
        table.clips_to_parquet()
        page.save_part()
        if evaluation.quantus is not None:
            save_frame(evaluation.quantus.scores, new / QUANTUS)
        if evaluation.method_table is not None:
            evaluation.method_table.save_part(new / METHOD_TABLE)
        done = {
            "shard": [shard.index, shard.of],
            "made from": made_from,
            "clips": clips_of(evaluation, shard),
            "without target": table.without_target,
            "dithered": dithered(evaluation.trained.methods),
        }
        with write_atomically(new / DONE, "w", encoding="utf-8") as file:
            json.dump(done, file)
        replace_folder(new, folder)
    print(f"Shard {shard} is done: {folder}")


def check_joins(evaluation: Evaluation) -> None:
    """Refuse a method-specific table whose parts cannot be joined."""
    if evaluation.method_table is not None and not all(
        hasattr(evaluation.method_table, name) for name in ("save_part", "join_parts")
    ):
        raise SettingError(
            f"the method_table {type(evaluation.method_table).__name__} has no "
            "save_part and join_parts, so shards of it cannot be joined: evaluate in "
            "one process, or set method_table to null"
        )


def clips_of(evaluation: Evaluation, shard: Shard) -> dict[str, list[str]]:
    """Return the ids of a shard's clips, by condition."""
    clips = evaluation.clips
    sizes = dict.fromkeys(evaluation.conditions, len(clips))
    batch_size = evaluation.experiment.hparams["eval_loader"]["batch_size"]
    return {
        condition: [clips[place] for batch in batches for place in batch]
        for condition, batches in batches_of(sizes, batch_size, shard).items()
    }


def identity_of(evaluation: Evaluation) -> dict:
    """Return all that the scores depend on; parts that are joined must agree in it."""
    experiment, trained = evaluation.experiment, evaluation.trained
    roles = experiment.roles
    recipe = {
        name: value
        for name, value in evaluation.settings["recipe"].items()
        if tuple(roles.get(name, ())) != ("run",)
    }
    names = {"recipe", "remarks"}
    settings = {k: v for k, v in evaluation.settings.items() if k not in names}
    networks = {"classifier": trained.classifier, **trained.methods}
    identity = {
        **recipe,
        **settings,
        "rows": evaluation.rows,
        "quantus": [] if evaluation.quantus is None else evaluation.quantus.names,
        "n_samples": experiment.hparams["n_samples"],
        "eval_batch_size": experiment.hparams["eval_loader"]["batch_size"],
        "test clips": digest_of(evaluation.clips),
        **{
            f"weights of {name}": fingerprint_of_network(network)
            for name, network in networks.items()
        },
    }
    return json.loads(json.dumps(identity, default=str))


def digest_of(content) -> str:
    """Return a short hash of what json can hold."""
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def differences(done: dict, made_from: dict) -> list[str]:
    """Return the names of what a part was made from and is no longer so."""
    before = done["made from"]
    names = [*made_from, *(name for name in before if name not in made_from)]
    return [n for n in names if before.get(n, ...) != made_from.get(n, ...)]


def read_done(folder: Path) -> dict:
    """Read the done-mark of a part.

    Raises
    ------
    DataError
        If it is damaged.
    """
    path = folder / DONE
    try:
        done = read_json(path)
        Shard(*done["shard"]), done["made from"], done["clips"]
        return done
    except (OSError, ValueError, LookupError, TypeError) as error:
        reason = getattr(error, "reason", error)
        raise DataError(f"{path} is damaged ({reason}): remove {folder}") from error


def complete_parts(evaluation: Evaluation) -> dict[Path, dict]:
    """Return the parts and their done-marks, if they are all there and fit.

    Raises
    ------
    SettingError
        If a shard is missing, parts are of different numbers of shards, a part was made
        with other settings or weights, or a clip is in no part or in two.
    """
    folder = folder_of_parts(evaluation)
    parts = {path.parent: read_done(path.parent) for path in folder.glob(f"*/{DONE}")}
    if not parts:
        raise SettingError(
            f"{folder} holds no part of this evaluation: score shards first, by "
            "--shard 0/2 and --shard 1/2, or other numbers"
        )
    numbers = sorted({done["shard"][1] for done in parts.values()})
    if len(numbers) > 1:
        raise SettingError(
            f"{folder} holds parts of {' and of '.join(map(str, numbers))} shards: "
            "remove those that do not belong to this evaluation"
        )
    (of,) = numbers
    there = {done["shard"][0] for done in parts.values()}
    missing = [f"{index}/{of}" for index in range(of) if index not in there]
    if missing:
        raise SettingError(
            f"shards are missing: score them by --shard {', '.join(missing[:20])}"
            f"{', ...' if len(missing) > 20 else ''}"
        )
    made_from = identity_of(evaluation)
    for part, done in parts.items():
        differing = differences(done, made_from)
        if differing:
            raise SettingError(
                f"{part} was made with other settings or weights; they differ in "
                f"{', '.join(differing[:10])}: score this shard again, by --shard "
                f"{done['shard'][0]}/{of}, or give the settings that it was made with"
            )
    check_clips(evaluation, parts)
    return dict(sorted(parts.items(), key=lambda part: part[1]["shard"]))


def check_clips(evaluation: Evaluation, parts: dict[Path, dict]) -> None:
    """Refuse parts that together do not hold each clip once, in each condition."""
    expected = set(evaluation.clips)
    for condition in evaluation.conditions:
        found: set[str] = set()
        for part, done in parts.items():
            own = done["clips"].get(condition, [])
            twice = next((clip for clip in own if clip in found), None)
            found.update(own)
            if twice is not None or len(set(own)) < len(own):
                raise SettingError(
                    f"{part}: clip {twice or own[0]!r} of {condition} is in two parts: "
                    "remove the parts and score the shards again"
                )
        if found != expected:
            clip = min(found ^ expected)
            raise SettingError(
                f"{next(iter(parts)).parent}: clip {clip!r} of {condition} is "
                f"{'in no part' if clip in expected else 'not in the data'}: remove "
                "the parts and score the shards again"
            )


def join_parts(evaluation: Evaluation, folder: Path):
    """Join the parts of all shards, as if one process had scored them.

    Arguments
    ---------
    evaluation : Evaluation
        Its ``quantus`` and ``method_table`` are filled.
    folder : Path
        Receives samples, the files of the page, and the scores of large rows.

    Returns
    -------
    FaithfulnessTable
    EvaluationPage

    Raises
    ------
    SettingError
        In the cases of :func:`complete_parts`, or if the scores of a part do not fit
        its clips.
    """
    check_joins(evaluation)
    parts = complete_parts(evaluation)
    order = dict.fromkeys(evaluation.conditions, evaluation.clips)
    table = FaithfulnessTable(evaluation.settings, folder=folder / SCORES)
    rows = [(c, row) for c in evaluation.conditions for row in evaluation.rows]
    try:
        join_frames(table, [part / SCORES for part in parts], order, rows)
        if evaluation.quantus is not None:
            kept = [part / QUANTUS for part in parts]
            join_frames(evaluation.quantus.scores, kept, order)
        if evaluation.method_table is not None:
            kept = [part / METHOD_TABLE for part in parts]
            evaluation.method_table.join_parts(kept, order)
    except ValueError as error:
        raise SettingError(
            f"{folder_of_parts(evaluation)} holds parts that do not fit together "
            f"({error}): remove them and score the shards again"
        ) from error
    for done in parts.values():
        for condition, clip_ids in done["without target"].items():
            table.add_without_target(condition, clip_ids)
    sort_without_target(table, order)
    check_lines(table, parts, order)
    add_dithered(evaluation.trained.methods, [d["dithered"] for d in parts.values()])
    table.settings["remarks"] = remarks_of(evaluation.trained.methods)
    return table, join_samples(evaluation, folder, parts)


def sort_without_target(table: FaithfulnessTable, order: dict) -> None:
    """Bring the clips without a target into the order of the clips."""
    found = {name: set(clips) for name, clips in table.without_target.items()}
    table.clear_without_target()
    for condition, clips in order.items():
        own = found.get(condition, ())
        table.add_without_target(condition, [clip for clip in clips if clip in own])


def check_lines(table: FaithfulnessTable, parts: dict[Path, dict], order: dict) -> None:
    """Refuse rows without a line for each clip that has a target."""
    for (condition, method), scores in table.rows.items():
        without = set(table.without_target.get(condition, ()))
        expected = set(order[condition]) - without
        if set(scores["clip_id"]) != expected:
            raise SettingError(
                f"{next(iter(parts)).parent}: row {method!r} of {condition} does not "
                "have a score for each clip: remove the parts and score the shards "
                "again"
            )


def join_samples(evaluation: Evaluation, folder: Path, parts: dict[Path, dict]):
    """Copy the samples and the files of the page of all parts; return the page."""
    page = evaluation_page(evaluation, folder)
    for part in parts:
        for name in (SAMPLES, PAGE):
            if (part / name).is_dir():
                copy_new(part / name, folder / name)
        page.add_part(part / PAGE)
    clips = evaluation.clips
    batch_size = evaluation.experiment.hparams["eval_loader"]["batch_size"]
    batch_of = {clip: place // batch_size for place, clip in enumerate(clips)}
    page.sort(
        lambda clip: (evaluation.conditions.index(clip.condition), batch_of[clip.name])
    )
    return page


def copy_new(source: Path, destination: Path) -> None:
    """Copy a folder into another one; refuse to replace a file.

    Raises
    ------
    SettingError
        If two clips have files of the same name.
    """

    def copy(old, new):
        if Path(new).exists():
            raise SettingError(
                f"samples of two clips have the name {new}: evaluate in one process, "
                "or set --n_samples 0"
            )
        return shutil.copy2(old, new)

    ignored = shutil.ignore_patterns("part_*.json")
    shutil.copytree(
        source, destination, copy_function=copy, ignore=ignored, dirs_exist_ok=True
    )


def remove_parts(evaluation: Evaluation) -> None:
    """Remove the parts; their scores are in the table."""
    shutil.rmtree(folder_of_parts(evaluation), ignore_errors=True)


def dithered(methods: dict) -> dict[str, int]:
    """Return how many gradients of each method were computed with dither."""
    owners = {name: _owner_of_dither(method) for name, method in methods.items()}
    return {name: o.n_dithered for name, o in owners.items() if o is not None}


def add_dithered(methods: dict, of_parts: list[dict[str, int]]) -> None:
    """Set how many gradients were computed with dither, over all parts."""
    for name, method in methods.items():
        owner = _owner_of_dither(method)
        if owner is not None:
            owner.n_dithered = sum(counts.get(name, 0) for counts in of_parts)


def _owner_of_dither(method):
    """Return the object that counts: the method, its source, or None."""
    for owner in (method, getattr(method, "source", None)):
        if hasattr(owner, "n_dithered"):
            return owner
    return None
