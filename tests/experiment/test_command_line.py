"""The command line: texts stay texts, run options are checked, help lists settings."""

import pytest

from lmac_td.cli import show
from lmac_td.errors import SettingError
from lmac_td.experiment.build import typed_recipe
from lmac_td.experiment.command_line import parse_arguments
from lmac_td.experiment.open import open_experiment
from lmac_td.experiment.run_options import CKPT_INTERVAL_MINUTES
from lmac_td.experiment.settings import names_with_role
from lmac_td.experiment.yaml_files import read_yaml
from lmac_td.runtime.distributed import backend_of


@pytest.fixture
def opened(tiny_recipes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments, recipe="lmac_td"):
        argv = [str(tiny_recipes / f"{recipe}.yaml"), *arguments]
        return open_experiment(argv, "usage", needs=("interpreter", "interpreters"))

    return run


def test_a_line_is_taken_apart():
    recipe, options, given = parse_arguments(
        ["a.yaml", "--lr", "-1e-3", "--compile", "--folder=a=b", "--text", "run #2",
         "--noprogressbar", "no", "--compile_module_keys", "a", "b", "--seed", "3"]
    )  # fmt: skip
    assert recipe == "a.yaml"
    assert given == {"lr": "-1e-3", "folder": "a=b", "text": "run #2", "seed": "3"}
    assert options.compile
    assert not options.noprogressbar
    assert options.compile_module_keys == ["a", "b"]
    assert {"compile", "device", "noprogressbar"} <= options.overridden_args


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--lr"], "--lr has no value: write --lr VALUE"),
        (["--lr", "--seed", "3"], "--lr has no value"),
        (["--device"], "--device has no value"),
        (["stray"], "'stray' belongs to no setting"),
        (["--lr", "1", "2"], "'2' belongs to no setting"),
        (["--", "1"], "'--' belongs to no setting"),
        (["--lr", "1", "--lr", "2"], "--lr is given twice"),
        (["--seed=1", "--seed", "2"], "--seed is given twice"),
        (["--device", "gpu"], "device is 'gpu': give --device cpu, cuda or cuda:0"),
        (["--device", "mps"], "device is 'mps'"),
        (["--device", "cuda:99"], "device is cuda:99"),
        (["--precision", "fp64"], "precision is 'fp64': give --precision fp32, fp16"),
        (["--precision", "fp16", "--device", "cpu"], "no CPU computes in"),
        (["--grad_accumulation_factor", "0"], "a whole number from 1"),
        (["--grad_accumulation_factor", "1.5"], "a whole number from 1"),
        (["--max_grad_norm", "much"], "max_grad_norm is 'much'"),
        (["--ckpt_interval_steps", "often"], "ckpt_interval_steps is 'often'"),
        (
            ["--ckpt_interval_steps", "1", "--ckpt_interval_minutes", "1"],
            "exclude each other",
        ),
        (["--optimizer_step_limit", "0"], "optimizer_step_limit is 0"),
        (["--compile_mode", "fast"], "compile_mode is 'fast'"),
        (["--test_only"], "eval_faithfulness"),
        (["--debug_persistently"], "would leave checkpoints of a few batches"),
        (["--debug_batches", "3"], "no effect without debug: give --debug"),
        (["--debug_epochs", "3"], "no effect without debug"),
        (["--compile_mode", "default"], "no effect without compile"),
        (["--compile_module_keys", "a"], "no effect without compile"),
        (["--compile_using_fullgraph"], "no effect without compile"),
        (["--compile_using_dynamic_shape_tracing"], "no effect without compile"),
        (["--profile_steps", "3"], "no effect without profile_training"),
        (["--profile_warmup", "3"], "no effect without profile_training"),
        (["--data_parallel_backend"], "torchrun --nproc_per_node=2"),
        (["--jit"], "give --compile instead"),
        (["--jit_module_keys", "a"], "give --compile instead"),
        (["--max_grad_norm", "0"], "max_grad_norm is 0"),
        (["--auto_mix_prec", "--precision", "bf16"], "auto_mix_prec is --precision"),
        (["--bfloat16_mix_prec", "--precision", "fp32"], "give --precision alone"),
        (["--log_config", "none.yaml"], "none.yaml does not exist"),
        (["--debug=maybe"], "debug is 'maybe': give --debug True or False"),
    ],
)
def test_what_cannot_work_is_a_sentence(arguments, words):
    with pytest.raises(SettingError, match=words):
        parse_arguments(["a.yaml", *arguments])


@pytest.mark.parametrize(
    "arguments",
    [
        ["--test_only", "no"],
        ["--jit=False"],
        ["--debug", "--debug_batches", "3"],
        ["--max_grad_norm", "-1"],
        ["--bfloat16_mix_prec", "--precision", "bf16"],
        ["--tqdm_colored_bar", "--find_unused_parameters"],
        ["--nonfinite_patience", "0", "--optimizer_step_limit", "1"],
    ],
)
def test_what_can_work_is_taken(arguments):
    parse_arguments(["a.yaml", *arguments])


@pytest.fixture
def two_processes(monkeypatch):
    """The environment of the second of two processes."""
    for name, value in {
        "RANK": 1, "LOCAL_RANK": 1, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2
    }.items():  # fmt: skip
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)


def test_each_process_takes_its_own_gpu(two_processes, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    for arguments in ([], ["--device", "cuda"]):
        _, options, _ = parse_arguments(["a.yaml", *arguments])
        assert options.device == "cuda:1"
        assert backend_of(options).distributed_backend == "nccl"
    with pytest.raises(SettingError, match="give --device cuda"):
        parse_arguments(["a.yaml", "--device", "cuda:0"])
    _, options, _ = parse_arguments(["a.yaml", "--device", "cpu"])
    assert backend_of(options).distributed_backend == "gloo"


def test_more_processes_than_gpus(two_processes, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(SettingError, match="torchrun --nproc_per_node=1"):
        parse_arguments(["a.yaml"])


@pytest.mark.parametrize(
    "text", ["run #2", "a: b", "2024", "1e3", "a=b", "'quoted'", "a\nseed: 5", "no"]
)
def test_a_folder_has_the_name_that_was_given(opened, tmp_path, text):
    experiment = opened("--output_folder", text)
    assert str(experiment.output_folder) == text
    assert experiment.hparams["seed"] == 1234
    assert experiment.hparams["save_folder"] == f"{text}/save"


def test_what_is_kept_with_the_results_can_be_given_again(opened, tmp_path):
    experiment = opened("--output_folder", "run #2: a", "--alpha", "1")
    experiment.create_output_folder()
    folder = tmp_path / "run #2: a"
    assert read_yaml(folder / "hyperparams.yaml")["output_folder"] == "run #2: a"
    again = typed_recipe(folder / "recipe.yaml")
    assert (again["output_folder"], again["alpha"]) == ("run #2: a", 1)
    assert dict(again["settings"]) == dict(experiment.tree["settings"])


def test_no_and_off_are_false(opened):
    hparams = opened(
        "--references", "no", "--skip_bad_files", "off", "--lr", "1e1"
    ).hparams
    assert (hparams["references"], hparams["skip_bad_files"]) == (False, False)
    assert hparams["lr"] == 10.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("batch_size", "2.5"),
        ("batch_size", "0"),
        ("eval_batch_size", "2.5"),
        ("number_of_epochs", "0"),
        ("n_samples", "many"),
        ("interpret_period", "often"),
        ("seed", "10**20"),
        ("seed", str(10**20)),
        ("mixing_seed", "-1"),
        ("test_fold_nums", "[[5]]"),
        ("train_fold_nums", "many"),
        ("weight_decay", "much"),
        ("intra_layers", "-1"),
        ("signal_length_s", "0.001"),
        ("signal_length_s", "1e7"),
        ("sample_rate", "16000.5"),
        ("n_mels", "0"),
        ("wham_snr_db", "-5000"),
        ("alpha", "2"),
        ("references", "perhaps"),
        ("snr", "papers"),
        ("geometry", "alligned"),
        ("num_workers", "some"),
        ("data_folder", "x" * 5000),
        ("method_table", "3"),
        ("dataset", "ESC50"),
    ],
)
def test_a_value_of_another_type_is_refused_before_anything_is_built(
    opened, tmp_path, name, value
):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(SettingError, match=f"{name} (is|builds)"):
        opened(f"--{name}", value)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("name", ["output_folder", "cache_folder", "save_folder"])
def test_a_file_in_the_place_of_a_folder_is_refused(opened, tmp_path, name):
    (tmp_path / "file").write_text("")
    for folder in ("file", "file/below"):
        with pytest.raises(SettingError, match=f"{name}: .*file is a file"):
            opened(f"--{name}", folder)


def test_the_output_does_not_go_into_the_data_set(opened):
    data = opened().hparams["data_folder"]
    with pytest.raises(SettingError, match="lies in the data set"):
        opened("--output_folder", f"{data}/results")


def test_help_lists_the_settings_of_the_recipe(tiny_recipes, capsys):
    for argv, words in (
        (["--help"], "usage"),
        ([str(tiny_recipes / "lmac_td.yaml"), "--help"], "--alpha 0.75"),
        ([str(tiny_recipes / "lmac_td.yaml"), "--alpha", "0.5", "-h"], "--alpha 0.5"),
    ):
        with pytest.raises(SystemExit) as left:
            open_experiment(argv, "usage", "interpreter")
        assert left.value.code == 0
        shown = capsys.readouterr().out
        assert words in shown
        assert "--grad_accumulation_factor" in shown
    assert "training; float, from 0, to 1" in shown
    default = str(tiny_recipes / "baselines.yaml")
    with pytest.raises(SystemExit):
        open_experiment(["--help"], "usage", "interpreter", default_recipe=default)
    assert "--noise_level" in capsys.readouterr().out


def test_show_prints_the_composed_recipe_with_roles(tiny_recipes, tmp_path, capsys):
    before = sorted(tmp_path.iterdir())
    recipe = str(tiny_recipes / "lmac_td.yaml")
    show.main([recipe, "--output_folder", "run #2", "--number_of_epochs", "3"])
    shown = capsys.readouterr().out
    assert sorted(tmp_path.iterdir()) == before
    (tmp_path / "shown.yaml").write_text(shown)
    again = read_yaml(tmp_path / "shown.yaml")
    tree = typed_recipe(recipe, {"output_folder": "run #2", "number_of_epochs": "3"})
    assert list(again) == [name for name in tree if name != "settings"]
    assert (again["output_folder"], again["number_of_epochs"]) == ("run #2", 3)
    assert again["unet_channels"] == [4, 4, 4, 4]
    assert "alpha: 0.75  # training; float, from 0, to 1\n" in shown
    lines = shown.splitlines()
    for name in names_with_role(tree, "training", "mixture", "run", "evaluation"):
        (line,) = [line for line in lines if line.startswith(f"{name}:")]
        assert "  # " in line


@pytest.mark.parametrize("value", ["two\nlines", "|", "a # b", "é", "''"])
def test_show_prints_every_text_as_valid_yaml(tiny_recipes, tmp_path, capsys, value):
    show.main([str(tiny_recipes / "lmac_td.yaml"), "--output_folder", value])
    (tmp_path / "shown.yaml").write_text(capsys.readouterr().out)
    assert read_yaml(tmp_path / "shown.yaml")["output_folder"] == value


def test_show_refuses_what_other_commands_refuse(tiny_recipes):
    with pytest.raises(SettingError, match="did you mean --alpha"):
        show.main([str(tiny_recipes / "lmac_td.yaml"), "--alhpa", "1"])


@pytest.mark.parametrize(
    ("arguments", "minutes", "steps"),
    [
        ([], CKPT_INTERVAL_MINUTES, 0),
        (["--ckpt_interval_minutes", "0"], 0, 0),
        (["--ckpt_interval_minutes", "60"], 60, 0),
        (["--ckpt_interval_steps", "100"], 0, 100),
        (["--ckpt_interval_steps", "0"], CKPT_INTERVAL_MINUTES, 0),
    ],
)
def test_long_epochs_are_saved_in_their_middle(arguments, minutes, steps):
    _, options, _ = parse_arguments(["a.yaml", *arguments])
    assert options.ckpt_interval_minutes == minutes
    assert options.ckpt_interval_steps == steps
    assert "ckpt_interval_minutes" in options.overridden_args or not minutes
