"""Everything that an evaluation loads from an experiment, in one pass."""

from collections.abc import Sequence
from dataclasses import dataclass

from lmac_td.contracts import Classifier
from lmac_td.experiment.open import Experiment
from lmac_td.experiment.weights import trained_interpreters
from lmac_td.interpreters.base import Interpreter


@dataclass(frozen=True)
class Trained:
    """A frozen classifier and the trained interpreters that explain it.

    Attributes
    ----------
    methods : dict of str to Interpreter
        By row name.
    epoch : int or None
        Epoch of the checkpoint; None if nothing was trained.
    classifier : Classifier
    """

    methods: dict[str, Interpreter]
    epoch: int | None
    classifier: Classifier


def load_trained(experiment: Experiment, argv: Sequence[str]) -> Trained:
    """Check that the experiment may be scored, and load its networks.

    Arguments
    ---------
    experiment : Experiment
    argv : sequence of str
        The command line, for the message that says how to train.

    Returns
    -------
    Trained

    Raises
    ------
    SettingError
        If the run was trained with other settings, on a fold that is scored, or for a
        classifier that cannot be explained.
    CheckpointError
        If weights are missing or belong to another model.
    """
    experiment.check_measurable()
    methods, epoch = trained_interpreters(
        experiment.hparams, experiment.device, argv, experiment.recipe
    )
    return Trained(methods, epoch, experiment.load_classifier())
