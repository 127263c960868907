"""Check SpeechBrain's run options as settings are checked; choose the device."""

import dataclasses
from collections.abc import Mapping

import torch
from speechbrain.utils.run_opts import HELP_TEXTS, RunOptions

from lmac_td.errors import SettingError
from lmac_td.experiment.scalar_types import Limits
from lmac_td.experiment.settings import Setting

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
        If a value has another type, or options cannot work together.

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
    if options.ckpt_interval_minutes and options.ckpt_interval_steps:
        raise SettingError(
            "ckpt_interval_minutes and ckpt_interval_steps exclude each other: give one"
        )
    if options.test_only:
        raise SettingError(
            "test_only trains nothing: measure a trained run with eval_faithfulness.py"
        )
    device = find_device(options.device)
    half = "fp16" in (options.precision, options.eval_precision)
    if device.startswith("cpu") and (half or options.auto_mix_prec):
        raise SettingError(
            "precision or eval_precision is fp16, which no CPU computes in: give bf16, "
            "or --device cuda"
        )
    return dataclasses.replace(options, device=device)


def find_device(name: str | None) -> str:
    """Return the given device if it exists; by default a CUDA GPU, or the CPU.

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
        return "cuda" if cuda else "cpu"
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
    return name
