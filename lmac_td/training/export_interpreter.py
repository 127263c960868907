"""Make the output folder of a training self-contained: it can be copied and opened.

The recipe is there already. Beside it go the weights of the best epoch as safetensors,
the labels, what earlier commands trained (the classifier, a dictionary), and a model
card.
"""

import json
import logging
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from lmac_td.classifiers.cnn14 import LABELS, Cnn14Classifier
from lmac_td.classifiers.weights import load_weights
from lmac_td.contracts import Classifier
from lmac_td.errors import CheckpointError, UnreadableFileError
from lmac_td.evaluation.markdown import compact_table
from lmac_td.files import replace_folder, temporary_folder_beside, write_atomically
from lmac_td.locks import one_writer
from lmac_td.reading import read_text
from lmac_td.runtime.loading import first_not_finite
from lmac_td.training.checkpoints import find_best
from lmac_td.training.export import CARD, export

logger = logging.getLogger(__name__)

RECIPE = "recipe.yaml"
# In a folder of its own: the fingerprint of a run covers the weights beside its recipe.
INTERPRETER = "interpreter/model.safetensors"
CLASSIFIER = "pretrained_classifier"
MEASURED = "## Measured"


def export_interpreter(
    folder: Path,
    save_folder: Path,
    classifier: Classifier,
    pretrained: Mapping[str, str | None],
    card: str,
) -> None:
    """Write everything that opens a trained interpreter into its output folder.

    Arguments
    ---------
    folder : Path
        The output folder.
    save_folder : Path
        Of the checkpoints.
    classifier : Classifier
        The classifier that is explained.
    pretrained : dict of str to str
        What earlier commands trained, by setting. What is on this disk is copied; a hub
        id is left to the recipe.
    card : str
        The model card, see :func:`interpreter_card`.

    Raises
    ------
    CheckpointError
        If there is no checkpoint.
    """
    best = find_best(save_folder)
    if best is None:
        raise CheckpointError(
            f"{save_folder} holds no checkpoint, so nothing was trained: train again"
        )
    state = torch.load(
        best.paramfiles["interpreter"], map_location="cpu", weights_only=True
    )
    write_interpreter(folder, state, classifier, pretrained, card)


def write_interpreter(
    folder: Path,
    state: Mapping[str, torch.Tensor],
    classifier: Classifier,
    pretrained: Mapping[str, str | None],
    card: str,
) -> None:
    """Write the weights of an interpreter, its classifier, the labels and a card.

    Arguments
    ---------
    folder : Path
    state : mapping of str to Tensor
        The interpreter's weights.
    classifier, pretrained, card
        See :func:`export_interpreter`.

    Raises
    ------
    CheckpointError
        If weights are not finite.
    """
    broken = first_not_finite(state)
    if broken:
        raise CheckpointError(
            f"{broken} of the interpreter is not finite, so it is not exported: train "
            "into another --output_folder with a lower --lr"
        )
    # safetensors takes no tensors that share memory.
    state = {key: tensor.clone().contiguous() for key, tensor in state.items()}
    with write_atomically(folder / INTERPRETER) as file:
        file.write(safetensors.torch.save(state))
    with write_atomically(folder / LABELS, "w", encoding="utf-8") as file:
        json.dump(list(classifier.labels), file, indent=1, ensure_ascii=False)
    for name, source in pretrained.items():
        if name == CLASSIFIER and isinstance(classifier, Cnn14Classifier):
            export(classifier, folder / name)
        elif source is not None and Path(source).exists():
            _copy(Path(source), folder / name)
    with write_atomically(folder / CARD, "w", encoding="utf-8") as file:
        file.write(card)


def load_exported(interpreter: nn.Module, path: Path) -> None:
    """Load the weights that :func:`export_interpreter` wrote.

    Arguments
    ---------
    interpreter : Interpreter
    path : Path
        ``interpreter/model.safetensors`` of an output folder.

    Raises
    ------
    CheckpointError
        If the file is corrupt, or belongs to another model.
    """
    load_weights(
        interpreter,
        path,
        path,
        remedy="leave out the settings that change its widths",
        again="train again, or download it again",
    )


def _copy(source: Path, destination: Path) -> None:
    """Copy a file or a folder, completely or not at all."""
    if source.resolve() == destination.resolve():
        return
    with temporary_folder_beside(destination) as scratch:
        new = scratch / destination.name
        if source.is_file():
            shutil.copyfile(source, new)
            new.replace(destination)
        else:
            shutil.copytree(source, new, ignore_dangling_symlinks=True)
            replace_folder(new, destination)


def interpreter_card(
    name: str,
    classifier: Classifier,
    settings: Mapping[str, object],
    command: str,
    licence: str | None = None,
) -> str:
    """Describe a trained interpreter: what it explains, how to open it, its training.

    Arguments
    ---------
    name : str
        Of the experiment.
    classifier : Classifier
    settings : mapping
        Plain settings, one line each.
    command : str
        The command line of the training.
    licence : str, optional
        The licence and the attribution of the data.

    Returns
    -------
    str
        Markdown.
    """
    data = f"\n## Data\n\n{licence.strip()}\n" if licence else ""
    labels = ", ".join(classifier.labels[:50])
    more = ", ..." if classifier.n_classes > 50 else ""
    table = compact_table(["setting", "value"], settings.items())
    return f"""# {name}

An interpreter of {classifier.name}: it returns the part of a sound that made the
classifier decide. The classifier is in this folder, too, if it was on the same disk.

Labels: {labels}{more}.

## Use

    lmac-td explain RECORDING --interpreter FOLDER --out explained

In Python: `lmac_td.AudioInterpreter.from_hparams(FOLDER).interpret_file(RECORDING)`.

## Training

    {command}

{table}
{data}"""


def add_measured_table(folder: Path, evaluation: str, table: str) -> None:
    """Write the table of an evaluation into the model card of a folder, if it has one.

    A damaged card is left as it is, with a warning.

    Arguments
    ---------
    folder : Path
        The output folder of a training.
    evaluation : str
        The name of the evaluation; its earlier table is replaced.
    table : str
        Markdown.

    Example
    -------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / CARD).write_text("# lmac\\n")
    >>> for table in ("old", "new"):
    ...     add_measured_table(folder, "evaluation", table)
    >>> (folder / CARD).read_text()
    '# lmac\\n\\n## Measured: evaluation\\n\\nnew\\n'
    """
    path = folder / CARD
    if not path.is_file():
        return
    heading = f"{MEASURED}: {evaluation}"
    earlier = rf"\n{re.escape(heading)}\n.*?(?=\n## |\Z)"
    # The table's own headings are below this one.
    table = re.sub(r"^#", "##", table.strip(), flags=re.MULTILINE)
    with one_writer(folder, "model_card"):  # several evaluations may end at once
        try:
            card = read_text(path)
        except UnreadableFileError as error:
            logger.warning("%s; it stays without this table", error)
            return
        card = re.sub(earlier, "", card, flags=re.DOTALL)
        with write_atomically(path, "w", encoding="utf-8") as file:
            file.write(f"{card.rstrip()}\n\n{heading}\n\n{table}\n")
