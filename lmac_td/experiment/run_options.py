"""Check SpeechBrain's run options as settings are checked; choose the device.

An option does what it says or is refused.
"""

import dataclasses
from collections.abc import Collection, Mapping

import torch
from speechbrain.utils.run_opts import HELP_TEXTS, RunOptions

from lmac_td import launch
from lmac_td.errors import SettingError
from lmac_td.experiment.scalar_types import Limits
from lmac_td.experiment.settings import Setting
from lmac_td.experiment.yaml_files import read_plain_yaml

MODULE_KEYS = ("compile_module_keys", "jit_module_keys")
# SpeechBrain accepts more values than it can use: these work.
_LEAST = {
    "debug_batches": 1, "debug_epochs": 1, "nonfinite_patience": 0,
    "ckpt_interval_minutes": 0, "ckpt_interval_steps": 0, "grad_accumulation_factor": 1,
    "optimizer_step_limit": 1, "profile_warmup": 1, "profile_steps": 1,
}  # fmt: skip
_CHOICES = {
    "precision": ("fp32", "fp16", "bf16"),
    "eval_precision": ("fp32", "fp16", "bf16"),
    "compile_mode": ("default", "reduce-overhead", "max-autotune"),
    "distributed_backend": ("nccl", "gloo", "mpi"),
}
_WITHOUT_DEFAULT = {"device": "str", "optimizer_step_limit": "int"}
# What has an effect only beside another option.
_BESIDE = {
    "debug_batches": "debug", "debug_epochs": "debug",
    "compile_mode": "compile", "compile_using_fullgraph": "compile",
    "compile_using_dynamic_shape_tracing": "compile", "compile_module_keys": "compile",
    "profile_warmup": "profile_training", "profile_steps": "profile_training",
}  # fmt: skip
# What is refused, and what to do instead.
_REFUSED = {
    "test_only": "trains nothing: measure a trained run with eval_faithfulness.py",
    "debug_persistently": "would leave checkpoints of a few batches, from which a "
    "training goes on: give --debug alone, or --number_of_epochs and another "
    "--output_folder",
    "data_parallel_backend": "cannot divide these batches: start one process for each "
    "GPU, as in torchrun --nproc_per_node=2",
    "jit": "cannot script these networks: give --compile instead",
    "jit_module_keys": "cannot script these networks: give --compile instead",
}
COMPILING = (
    "compile", "compile_mode", "compile_module_keys", "compile_using_fullgraph",
    "compile_using_dynamic_shape_tracing",
)  # fmt: skip
# A long epoch is also saved in its middle; 0 saves at its end only.
CKPT_INTERVAL_MINUTES = 15


def _setting(name):
    default = getattr(RunOptions(), name)
    kind = _WITHOUT_DEFAULT.get(name) or type(default).__name__
    if name in MODULE_KEYS:
        kind = "list[str]"
    elif name == "log_config":
        kind = "path"
    limits = Limits(min=_LEAST.get(name), choices=_CHOICES.get(name, ()))
    return Setting(name, ("run",), kind, limits)


RUN_OPTIONS = {name: _setting(name) for name in (*HELP_TEXTS, *MODULE_KEYS)}


def is_flag(name: str) -> bool:
    """Return whether a run option takes no value on the command line."""
    return RUN_OPTIONS[name].type == "bool"


def read_run_options(recipe: str, given: Mapping[str, str]) -> RunOptions:
    """Read SpeechBrain's run options with the types that it expects.

    Arguments
    ---------
    recipe : str
        Path of the yaml.
    given : mapping of str to str
        Texts of the command line by name.

    Returns
    -------
    speechbrain.utils.run_opts.RunOptions
        Options whose device exists.

    Raises
    ------
    SettingError
        If a value has another type, an option has no effect or cannot be used here, or
        options contradict each other.

    Example
    -------
    >>> options = read_run_options("a.yaml", {"device": "cpu", "debug": "no"})
    >>> options.device, options.debug
    ('cpu', False)
    """
    typed = {name: RUN_OPTIONS[name].read(text) for name, text in given.items()}
    if not typed.get("ckpt_interval_steps"):
        typed.setdefault("ckpt_interval_minutes", CKPT_INTERVAL_MINUTES)
    options = RunOptions(
        **typed, param_file=str(recipe), overridden_args={*typed, "device"}
    )
    _check_options(options, typed)
    device = find_device(options.device)
    half = "fp16" in (options.precision, options.eval_precision)
    if device.startswith("cpu") and (half or options.auto_mix_prec):
        raise SettingError(
            "precision or eval_precision is fp16, which no CPU computes in: give bf16, "
            "or --device cuda"
        )
    return dataclasses.replace(options, device=device)


def _check_options(options: RunOptions, given: Mapping[str, object]) -> None:
    """Refuse options that do not do what they say."""
    for name, problem in _REFUSED.items():
        if given.get(name):
            raise SettingError(f"{name} {problem}")
    for name, needed in _BESIDE.items():
        if name in given and not getattr(options, needed):
            raise SettingError(
                f"{name} has no effect without {needed}: give --{needed}, or leave "
                f"--{name} out"
            )
    if options.ckpt_interval_minutes and options.ckpt_interval_steps:
        raise SettingError(
            "ckpt_interval_minutes and ckpt_interval_steps exclude each other: give one"
        )
    if options.log_config is not None:
        _check_log_config(options.log_config)
    if options.max_grad_norm == 0:
        raise SettingError(
            "max_grad_norm is 0, which makes every gradient 0: give a number above 0, "
            "or a negative one, which does not limit gradients"
        )
    for name, precision in (("auto_mix_prec", "fp16"), ("bfloat16_mix_prec", "bf16")):
        if getattr(options, name) and given.get("precision", precision) != precision:
            raise SettingError(
                f"{name} is --precision {precision}, but precision is "
                f"{options.precision}: give --precision alone"
            )
    if options.auto_mix_prec and options.bfloat16_mix_prec:
        raise SettingError(
            "auto_mix_prec and bfloat16_mix_prec exclude each other: give --precision"
        )


def _check_log_config(path: str) -> None:
    """Refuse a file that does not configure a log file, as SpeechBrain's does."""
    handlers = read_plain_yaml(path, "SpeechBrain's log-config.yaml").get("handlers")
    if not isinstance(handlers, dict) or "file_handler" not in handlers:
        raise SettingError(
            f"log_config {path} does not configure Python's logging with a handler "
            "named file_handler: give a copy of SpeechBrain's log-config.yaml, or "
            "leave it out"
        )


def refuse_options(
    options: RunOptions, command: str, names: Collection[str] = RUN_OPTIONS
) -> None:
    """Refuse options that a command does not use.

    Arguments
    ---------
    options : speechbrain.utils.run_opts.RunOptions
    command : str
        Its name.
    names : collection of str
        What it does not use; by default everything but the device, the progress bars
        and the log.

    Raises
    ------
    SettingError
        If one of them was given with another value than its default.
    """
    standard = dataclasses.replace(
        RunOptions(), ckpt_interval_minutes=CKPT_INTERVAL_MINUTES
    )
    used = {"device", "noprogressbar", "log_config"} if names is RUN_OPTIONS else set()
    for name in names:
        is_given = name in options.overridden_args and name not in used
        if is_given and getattr(options, name) != getattr(standard, name):
            raise SettingError(f"{command} does not use {name}: leave it out")


def find_device(name: str | None) -> str:
    """Return the given device if it exists; by default a CUDA GPU, or the CPU.

    Of several processes that a launcher started on a machine, each takes its own GPU.
    Other accelerators lack the float64 in which the metrics are computed.

    Arguments
    ---------
    name : str or None
        Such as ``cpu`` or ``cuda:0``.

    Raises
    ------
    SettingError
        If there is no such device.
    """
    cuda = torch.cuda.is_available()
    if name is None:
        return _own_gpu("cuda") if cuda else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise SettingError(f"device is {name!r}: give --device cpu, cuda or cuda:0")
    if device.type == "cuda" and not cuda:
        raise SettingError(
            f"device is {name}, but there is no CUDA GPU: give --device cpu"
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise SettingError(
            f"device is {name}, but there are {torch.cuda.device_count()} GPUs: give "
            "--device cuda:0"
        )
    return _own_gpu(name) if device.type == "cuda" else name


def _own_gpu(name):
    """Return the GPU of this process."""
    n_here, n_gpus = launch.number_here(), torch.cuda.device_count()
    if n_here == 1:
        return name
    if name != "cuda":
        raise SettingError(
            f"device is {name}, but {n_here} processes were started, each with its own "
            "GPU: give --device cuda"
        )
    if n_here > n_gpus:
        raise SettingError(
            f"{n_here} processes were started on a machine with {n_gpus} GPUs: give "
            f"torchrun --nproc_per_node={n_gpus}"
        )
    return f"cuda:{launch.local_rank()}"
