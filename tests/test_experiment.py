"""Opening an experiment: the conditions it asks for, the logs it keeps."""

import importlib.util

import pytest

from lmac_td.errors import SettingError
from lmac_td.experiment import BothLoggers, open_experiment


@pytest.fixture
def opened(tiny_recipes):
    def run(**settings):
        flags = [part for k, v in settings.items() for part in (f"--{k}", str(v))]
        argv = [str(tiny_recipes / "lmac_td.yaml"), *flags]
        return open_experiment(argv, "usage", needs="interpreter")

    return run


def test_settings_and_run_options_come_from_the_command_line(opened, tmp_path):
    experiment = opened(alpha=0.5, device="cpu")
    assert experiment.hparams["interpreter"].alpha == 0.5
    assert experiment.device == "cpu"
    assert experiment.output_folder.name == "lmac_td_alpha0.5"
    assert not experiment.output_folder.exists()  # nothing is made by looking


def test_conditions(opened):
    assert opened().conditions() == ["clean", "in_domain"]
    assert opened(condition="clean").conditions() == ["clean"]
    with pytest.raises(SettingError, match="--condition"):
        opened(condition="noisy").conditions()


def test_the_whole_recipe_is_kept_with_the_results(opened):
    experiment = opened(alpha=0.5)
    experiment.create_output_folder()
    kept = (experiment.output_folder / "hyperparams.yaml").read_text()
    assert "alpha: 0.5" in kept
    assert "n_fft: 1024" in kept  # of the file that everything extends


def test_tensorboard_is_optional(opened):
    experiment = opened()
    experiment.add_tensorboard()
    assert not isinstance(experiment.hparams["train_logger"], BothLoggers)
    experiment = opened(use_tensorboard=True)
    if importlib.util.find_spec("tensorboard") is None:
        with pytest.raises(SettingError, match="pip install tensorboard"):
            experiment.add_tensorboard()
    else:
        experiment.add_tensorboard()
        logger = experiment.hparams["train_logger"]
        logger.log_stats({"epoch": 1}, {"loss": 1.0}, {"loss": 2.0})
        assert list((experiment.output_folder / "tensorboard").iterdir())


def test_a_recipe_for_another_command_is_refused(tiny_recipes):
    with pytest.raises(SettingError, match="another command"):
        open_experiment([str(tiny_recipes / "cnn14.yaml")], "usage", "interpreter")


def test_help_says_what_the_command_is_for(capsys):
    with pytest.raises(SystemExit) as left:
        open_experiment(["--help"], "Train something.", "interpreter")
    assert left.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith("Train something.")
    assert "--device" in said
