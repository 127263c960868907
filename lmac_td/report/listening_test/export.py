"""Export clips as webMUSHRA experiments: pages, sounds with blind names, a key.

webMUSHRA (https://github.com/audiolabs/webMUSHRA, doc/experimenter.md) is not part of
this package. The exported folder is copied into its folder. ``study.json`` says which
method is behind each name; it stays with the experimenter.
"""

from __future__ import annotations

import html
import io
import json
import random
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import ruamel.yaml

from lmac_td.errors import SettingError
from lmac_td.files import replace_folder, temporary_folder_beside
from lmac_td.report.listening_test.clips import RatedClip

STUDY_FILE = "study.json"
# The questions of L-MAC's and LMAC-TD's user studies, which were rated from 0 to 100.
QUESTIONS = {
    "correspondence": "How well does each sound correspond to the part of the input "
    "that is associated with “{target}”?",
    "quality": "How good is the audio quality of each sound?",
}
# Where the clean target is known, it is the reference.
SIMILARITY = (
    "The reference is the sound of “{target}” that is in the mixture. How similar to "
    "it is each sound? One of the sounds is the reference itself: rate it 100."
)
LEVELS = range(0, 101, 10)


def export_study(
    folder: Path,
    name: str,
    clips: Sequence[RatedClip],
    n_subsets: int = 4,
    clips_per_subset: int = 9,
    with_reference: bool = False,
    seed: int = 0,
) -> list[Path]:
    """Write experiments for webMUSHRA.

    Each is a random subset of the clips, in its own random order; the methods have a
    random order on every page, and names that do not tell which they are. Subsets
    overlap as little as possible: clips are dealt like cards.

    Arguments
    ---------
    folder : Path
        An older export is replaced. It receives ``configs/<name>_<number>.yaml``,
        ``configs/resources/<name>/`` with the sounds, and ``study.json``.
    name : str
        Of the test: letters, digits, dashes and underscores.
    clips : sequence of RatedClip
    n_subsets : int
        Number of experiments; give each listener one of them.
    clips_per_subset : int
        At most so many clips for a listener; the papers had nine.
    with_reference : bool
        ``mushra`` pages with the clean target as reference. Otherwise
        ``likert_multi_stimulus`` pages, one for each of the two questions.
    seed : int

    Returns
    -------
    list of Path
        The experiments' yaml files.

    Raises
    ------
    SettingError
        If an argument has another value, or a clean target is not known.
    """
    _check(name, clips, n_subsets, clips_per_subset, with_reference)
    rng = random.Random(seed)
    size = min(clips_per_subset, len(clips))
    with temporary_folder_beside(folder) as scratch:
        new = scratch / folder.name
        sounds = _Sounds(new, name, rng)
        pages, names = {}, []
        for number, subset in enumerate(_deal(len(clips), n_subsets, size, rng), 1):
            config = _config(name, number)
            shown = []
            for index in subset:
                for page, key in _pages(
                    clips[index], index, sounds, with_reference, rng
                ):
                    page["id"] = f"{name}_{number}_{page['id']}"
                    pages[page["id"]] = key
                    shown.append(page)
            config["pages"] = [_consent(), ["random", *shown], _finish()]
            names.append(f"{name}_{number}.yaml")
            _write_yaml(new / "configs" / names[-1], config)
        study = {"name": name, "seed": seed, "pages": pages}
        text = json.dumps(study, indent=1, ensure_ascii=False)
        (new / STUDY_FILE).write_text(text, encoding="utf-8")
        replace_folder(new, folder)
    return [folder / "configs" / name for name in names]


def _check(name, clips, n_subsets, clips_per_subset, with_reference):
    if not re.fullmatch(r"[a-z0-9_-]+", name):
        raise SettingError(
            f"name is {name!r}: give --name small letters, digits, - and _, since "
            "webMUSHRA names folders by it"
        )
    for setting, n in (("subsets", n_subsets), ("clips", clips_per_subset)):
        if n < 1:
            raise SettingError(f"{setting} is {n}: give --{setting} 1 or more")
    unknown = [clip.name for clip in clips if clip.clean is None]
    if with_reference and unknown:
        raise SettingError(
            f"the clean target of {unknown[0]} is not known: leave out --reference, or "
            "choose a --condition with interference"
        )


def _deal(n_clips, n_subsets, size, rng):
    """Yield random subsets; a clip comes again only after all others were dealt."""
    deck = []
    for _ in range(n_subsets):
        hand = []
        while len(hand) < size:
            if not deck:
                deck = rng.sample(range(n_clips), n_clips)
            # The new deck may begin with a clip that this hand has already.
            card = next(i for i in deck if i not in hand)
            deck.remove(card)
            hand.append(card)
        yield hand


class _Sounds:
    """Copies sounds under names that do not tell what they are."""

    def __init__(self, folder, name, rng):
        self.folder, self.rng = folder, rng
        self.below = f"configs/resources/{name}"
        self.links = {}

    def __call__(self, path):
        if path not in self.links:
            link = f"{self.below}/{self.rng.getrandbits(48):012x}.wav"
            (self.folder / link).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, self.folder / link)
            self.links[path] = link
        return self.links[path]


def _pages(clip, index, sounds, with_reference, rng):
    """Yield the pages of a clip, and what their key says of each."""
    questions = {"similarity": SIMILARITY} if with_reference else QUESTIONS
    for question, words in questions.items():
        methods = rng.sample(list(clip.interpretations), len(clip.interpretations))
        blind = {f"C{i}": method for i, method in enumerate(methods, 1)}
        stimuli = {c: sounds(clip.interpretations[m]) for c, m in blind.items()}
        asked = html.escape(words.format(target=clip.target))
        page = {"id": f"c{index}_{question}", "name": html.escape(clip.target)}
        if with_reference:
            page |= {
                "type": "mushra",
                "content": asked,
                "showWaveform": True,
                "enableLooping": True,
                "reference": sounds(clip.clean),
                "createAnchor35": False,
                "createAnchor70": False,
                "randomize": True,
                "showConditionNames": False,
                "stimuli": stimuli,
            }
        else:
            player = f'<audio controls src="{sounds(clip.sound)}"></audio>'
            page |= {
                "type": "likert_multi_stimulus",
                "content": f"<p>The input: {player}</p><p>{asked} "
                "0: not at all, 100: perfectly.</p>",
                "mustRate": True,
                "mustPlayback": "processUpdate",
                "stimuli": stimuli,
                "response": [{"value": n, "label": str(n)} for n in LEVELS],
            }
        key = {
            "clip": clip.name,
            "condition": clip.condition,
            "target": clip.target,
            "question": question,
            "methods": blind,
        }
        yield page, key


def _config(name, number):
    return {
        "testname": "Listening test",
        "testId": f"{name}_{number}",
        "bufferSize": 2048,
        "stopOnErrors": True,
        "showButtonPreviousPage": True,
        "remoteService": "service/write.php",
    }


def _consent():
    return {
        "type": "generic",
        "id": "introduction",
        "name": "Welcome",
        "content": "A classifier was given each input and decided on the class that is "
        "shown. Rate what different methods say it decided on. Please use headphones.",
    }


def _finish():
    return {
        "type": "finish",
        "name": "Thank you",
        "content": "Please send your ratings.",
        "popupContent": "Your ratings were sent. Thank you.",
        "showResults": False,
        "writeResults": True,
        "questionnaire": [
            {"type": "text", "label": "A name or code of yours", "name": "listener"}
        ],
    }


def _write_yaml(path, tree):
    path.parent.mkdir(parents=True, exist_ok=True)
    yaml, text = ruamel.yaml.YAML(typ="safe", pure=True), io.StringIO()
    yaml.default_flow_style, yaml.width, yaml.sort_base_mapping_type_on_output = (
        False, 2**16, False
    )  # fmt: skip
    yaml.allow_unicode = True
    yaml.dump(tree, text)
    path.write_text(text.getvalue(), encoding="utf-8")
