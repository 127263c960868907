"""Opening an experiment: the conditions it asks for, the logs it keeps."""

import importlib.util
import json

import numpy as np
import pytest
import torch

from lmac_td.data.prepare import check_named_objects
from lmac_td.data.sources.csv_manifest import CsvManifest
from lmac_td.errors import CheckpointError, DataError, SettingError
from lmac_td.experiment import guards
from lmac_td.experiment.fingerprint import fingerprint
from lmac_td.experiment.kept import read_settings
from lmac_td.experiment.loggers import BothLoggers, add_tensorboard
from lmac_td.experiment.open import open_experiment
from lmac_td.experiment.weights import trained_interpreters


@pytest.fixture
def opened(tiny_recipes):
    def run(**settings):
        flags = [part for k, v in settings.items() for part in (f"--{k}", str(v))]
        argv = [str(tiny_recipes / "lmac_td.yaml"), *flags]
        return open_experiment(argv, "usage", needs="interpreter")

    return run


def resumed(experiment):
    """The experiment, with a checkpoint to resume from."""
    (experiment.output_folder / "save" / "CKPT+1").mkdir(parents=True, exist_ok=True)
    return experiment


def test_settings_and_run_options_come_from_the_command_line(opened, tmp_path):
    experiment = opened(alpha=0.5, device="cpu")
    assert experiment.hparams["interpreter"].alpha == 0.5
    assert experiment.device == "cpu"
    assert experiment.output_folder.name == "lmac_td_alpha0.5"
    assert not experiment.output_folder.exists()  # nothing is made by looking


def test_conditions(opened):
    assert opened().conditions() == ["in_domain", "clean"]
    assert opened(condition="clean").conditions() == ["clean"]
    assert opened(condition="all").conditions() == [
        "in_domain", "mixtures", "white_noise", "speech", "clean",
    ]  # fmt: skip
    two = opened(condition="[speech, mixtures]")
    assert two.conditions() == ["speech", "mixtures"]


@pytest.mark.parametrize(
    "wrong", ["noisy", "[clean, noisy]", "[clean, 3]", "[all]", "5", "[]"]
)
def test_an_unknown_condition_is_refused_with_the_choices(opened, wrong):
    with pytest.raises(SettingError, match=r"--condition .*in_domain, .*or clean"):
        opened(condition=wrong).conditions()


def test_a_condition_stands_once(opened):
    with pytest.raises(SettingError, match="at most once"):
        opened(condition="[clean, speech, clean]").conditions()


def test_prepare_gives_on_what_the_conditions_need(opened, tmp_path):
    nowhere = tmp_path / "nowhere"
    settings = {"ljspeech_folder": nowhere, "speech_snr_db": 1, "snr": "published"}
    experiment = opened(white_noise_snr_db=-2, **settings)
    data = experiment.prepare("test", conditions=["in_domain", "clean"])
    assert len(data.dataset("test", "in_domain")) == 10
    data = experiment.prepare("test", conditions=["white_noise"])
    assert round(data.snr_db["white_noise"], 2) == 6.02
    with pytest.raises(DataError, match=r"nowhere.*--ljspeech_folder"):
        experiment.prepare("test", conditions=["speech"])
    data = opened(mixtures_snr_db=-2).prepare("test", conditions=["mixtures"])
    assert data.snr_db["mixtures"] == -2


def test_settings_that_training_does_not_use_do_not_stop_a_resumed_run(opened):
    trained = opened()
    trained.create_output_folder()
    for settings in (
        {"condition": "speech"},
        {"ljspeech_folder": "another"},
        {"snr": "published"},
        {"mixtures_snr_db": 1, "white_noise_snr_db": 1, "speech_snr_db": 1},
    ):
        resumed(opened(**settings)).check_resumable()
    with pytest.raises(SettingError, match="wham_snr_db"):
        resumed(opened(wham_snr_db=3)).check_resumable()
    opened(wham_snr_db=3).check_measurable()


def test_representations_with_places_of_their_own_are_compared(opened):
    experiment = opened()
    given = {"layer1": {"offset_samples": 3}, 2: None}
    experiment.hparams["representations"] = given
    experiment.save_settings(experiment.output_folder)
    experiment.check_measurable()
    experiment.hparams["representations"] = given | {"layer1": {"offset_samples": 4}}
    with pytest.raises(SettingError, match="trained with representations"):
        experiment.check_measurable()
    assert "conditions" not in experiment.settings  # objects


def test_a_training_goes_on_with_the_same_mixtures_alone(opened, tiny_recipes):
    """Whatever the condition is made of, settings or numbers in the recipe."""
    recipe = tiny_recipes / "lmac_td.yaml"
    text = recipe.read_text()
    noise = "!new:lmac_td.data.conditions.in_domain.InDomain {folder: x, snr_db: %d}"
    trained = None
    for snr_db in (3, 3, 5):
        recipe.write_text(
            f"{text}training_condition: own\nconditions: {{own: {noise % snr_db}}}\n"
        )
        if trained is None:
            trained = opened()
            trained.create_output_folder()
        elif snr_db == 3:
            resumed(opened()).check_resumable()
    with pytest.raises(SettingError, match=r"snr_db=3.*snr_db=5.*in the recipe as"):
        resumed(opened()).check_resumable()
    opened().check_measurable()


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


def test_tensorboard_goes_on_at_the_epoch_where_a_training_resumes(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    class Silent:
        log_stats = staticmethod(lambda *_, **__: None)

    for epochs in ((1, 2), (3, 4)):  # two processes
        logger = add_tensorboard(Silent(), tmp_path)
        for epoch in epochs:
            valid = {"loss": 10.0 * epoch} if epoch % 2 == 0 else None
            logger.log_stats({"epoch": epoch}, {"loss": float(epoch)}, valid)
        logger.loggers[1].writer.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    points = {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in ("loss/train", "loss/valid", "epoch")
    }
    assert points["loss/train"] == points["epoch"] == [(i, i) for i in (1, 2, 3, 4)]
    assert points["loss/valid"] == [(2, 20), (4, 40)]


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


@pytest.mark.parametrize(
    "setting", ["pretrained_classifier", "pretrained_interpreter", "nmf_dictionary"]
)
def test_what_was_trained_on_a_fold_for_testing_is_refused(opened, tmp_path, setting):
    experiment = opened()
    seen = {"data_folder": experiment.hparams["data_folder"], "train_fold_nums": [1, 5]}
    (tmp_path / "settings.json").write_text(json.dumps(seen))
    guards.check_unseen(experiment.hparams, [setting])
    experiment.hparams[setting] = str(tmp_path)
    with pytest.raises(SettingError, match=f"fold 5.*another {setting}"):
        guards.check_unseen(experiment.hparams, [setting])
    (tmp_path / "settings.json").write_text(
        json.dumps({**seen, "data_folder": "another/data/set"})
    )
    guards.check_unseen(experiment.hparams, [setting])


def test_data_sources_are_told_apart_by_more_than_their_folder(opened, tmp_path):
    experiment = opened()
    experiment.hparams["pretrained_classifier"] = str(tmp_path)
    seen = {"data_folder": "another name of it", "train_fold_nums": [5]}
    identity = experiment.settings["dataset"]
    assert identity.endswith("esc50.csv)")
    for dataset, is_same in ((identity, True), ("a.CsvManifest(b.csv)", False)):
        kept = {**seen, "dataset": dataset}
        (tmp_path / "settings.json").write_text(json.dumps(kept))
        if is_same:
            with pytest.raises(SettingError, match="fold 5"):
                experiment.check_unseen()
        else:
            experiment.check_unseen()


def test_a_file_of_weights_has_a_fingerprint_and_no_settings(tmp_path):
    file = tmp_path / "network.pt"
    fingerprints = []
    for content in (b"one", b"two", b"one"):
        file.write_bytes(content)
        fingerprints.append(fingerprint(str(file)))
    first, second, again = fingerprints
    assert first == again != second
    assert read_settings(str(file)) == {}
    assert fingerprint(str(tmp_path / "nowhere.pt")) is None


def test_what_does_not_say_what_it_was_trained_on_is_no_reason_to_refuse(
    opened, tmp_path
):
    """A classifier from elsewhere, and one of ESC-50 that explains another data set."""
    experiment = opened()
    hparams = experiment.hparams
    hparams["pretrained_classifier"] = str(tmp_path)
    seen = {"data_folder": hparams["data_folder"], "train_fold_nums": [5]}
    (tmp_path / "settings.json").write_text(json.dumps(seen))
    with pytest.raises(SettingError, match="fold 5"):
        experiment.check_unseen()
    hparams["dataset"] = CsvManifest(tmp_path / "clips.csv")
    experiment.check_unseen()
    hparams["data_folder"] = None  # it has no meaning for a csv file
    (tmp_path / "settings.json").unlink()
    experiment.check_unseen()


def test_a_network_that_is_no_classifier_is_refused(opened):
    experiment = opened()
    experiment.hparams["classifier"] = torch.nn.Linear(2, 3)
    with pytest.raises(SettingError, match=r"classifier is a Linear.*ModuleClassifier"):
        experiment.load_classifier()


@pytest.mark.parametrize("conditions", [None, ["clean"]])
def test_conditions_have_names(opened, conditions):
    dataset = opened().hparams["dataset"]
    with pytest.raises(SettingError, match=r"conditions is .*mapping of names"):
        check_named_objects(dataset, conditions)


@pytest.mark.parametrize("name", [5, True, "all", "a/b", ""])
def test_a_name_of_a_condition_can_be_given_and_names_a_folder(opened, name):
    hparams = opened().hparams
    with pytest.raises(SettingError, match=r"a condition is named .*: write a text"):
        check_named_objects(hparams["dataset"], {name: hparams["conditions"]["clean"]})


@pytest.mark.parametrize("name", ["pytorch_model.bin", "a.safetensors", "network.pth"])
def test_weights_that_were_trained_again_are_noticed(tmp_path, name):
    assert fingerprint(tmp_path) is None
    (tmp_path / name).write_bytes(b"trained")
    before = fingerprint(tmp_path)
    (tmp_path / name).write_bytes(b"trained again")
    assert None not in (before, fingerprint(tmp_path))
    assert before != fingerprint(tmp_path)


def test_weights_of_before_are_loaded_where_a_run_is_named(opened, tmp_path, capsys):
    experiment = opened()
    experiment.load_interpreter()  # names none
    experiment.hparams["pretrained_interpreter"] = str(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="another pretrained_interpreter"):
        experiment.load_interpreter()
    trained = opened(output_folder=tmp_path / "before").hparams
    checkpointer = trained["checkpointer"]()
    checkpointer.save_and_keep_only(meta={"loss": 1.0, "epoch": 3}, min_keys=["loss"])
    experiment.hparams["pretrained_interpreter"] = str(tmp_path / "before")
    interpreter = experiment.hparams["interpreter"]
    for parameter in interpreter.parameters():
        torch.nn.init.zeros_(parameter)
    experiment.load_interpreter()
    for ours, theirs in zip(
        interpreter.parameters(), trained["interpreter"].parameters(), strict=True
    ):
        assert torch.equal(ours, theirs)
    assert "epoch 3" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "value", "refused"),
    [
        ("mask_domain", "magnitude", True),
        ("relevance_threshold", 0.5, False),  # an evaluation may choose it, too
        ("lr", 0.5, False),
    ],
)
def test_a_run_starts_from_another_whose_interpreter_is_the_same(
    tiny_recipes, tmp_path, name, value, refused
):
    def run(folder, **settings):
        given = {"output_folder": tmp_path / folder, **settings}
        flags = [part for k, v in given.items() for part in (f"--{k}", str(v))]
        return open_experiment([str(tiny_recipes / "l2i.yaml"), *flags], "", "lr")

    dictionary = tiny_recipes / "results" / "nmf" / "dictionary"
    dictionary.mkdir(parents=True)
    np.save(dictionary / "dictionary.npy", np.eye(513, 6, dtype=np.float32))
    before = tmp_path / "before"
    run("before").save_settings(before)
    now = run("now", pretrained_interpreter=before, **{name: value})
    kind = SettingError if refused else CheckpointError  # it has no weights to load
    with pytest.raises(kind, match=name if refused else "holds no checkpoint"):
        now.load_interpreter()


def test_a_filterbank_may_be_trained_from_a_run_that_froze_it(tiny_recipes, tmp_path):
    def run(**settings):
        flags = [part for k, v in settings.items() for part in (f"--{k}", str(v))]
        return open_experiment([str(tiny_recipes / "lmac_td.yaml"), *flags], "", "lr")

    before = tmp_path / "before"
    run(output_folder=before).save_settings(before)
    now = run(pretrained_interpreter=before, train_filterbank=True)
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        now.load_interpreter()  # nothing but the weights is missing


def test_another_kind_of_classifier_is_another_training(opened):
    experiment = opened()
    experiment.output_folder.mkdir(parents=True)
    experiment.save_settings(experiment.output_folder)
    experiment.hparams["classifier"].name = "another network"
    words = "classifier 'CNN14', not 'another network': name it in the recipe as it was"
    with pytest.raises(SettingError, match=words):
        experiment.check_measurable()


@pytest.mark.parametrize("names", [["oracle"], ["mine"]])
def test_rows_of_one_name_are_refused(names):
    """Also those that a method adds to its own."""

    class Adds(torch.nn.Module):
        def rows(self, name):
            return {name: self, **dict.fromkeys(names, self)}

    methods = {"first": Adds(), "mine": Adds()}
    with pytest.raises(SettingError, match=f"a row '{names[0]}', which another"):
        trained_interpreters({"interpreters": methods}, "cpu", [])
