"""Compile networks in place, for SpeechBrain's option ``--compile``.

By default SpeechBrain wraps whole modules of the Brain. This does not work here: a
wrapper compiles only ``forward``, but the frozen classifier is called by ``classify``.
STFTs, which are complex, would gain nothing. So the networks inside the interpreter and
the classifier are compiled instead, with ``nn.Module.compile``, which changes neither
the type nor the state-dict keys of a module.
"""

import os
import shutil

import speechbrain as sb
from speechbrain.utils.run_opts import RunOptions
from torch import nn

from lmac_td.errors import SettingError


def networks_to_compile(
    interpreter: nn.Module,
    classifier: nn.Module,
    run_opts: RunOptions | sb.Brain,
) -> dict[str, nn.Module]:
    """Return the networks that ``--compile`` and ``--compile_module_keys`` select.

    Arguments
    ---------
    interpreter : Interpreter
    classifier : Classifier
    run_opts : speechbrain.utils.run_opts.RunOptions or Brain
        With SpeechBrain's ``compile``, ``compile_module_keys`` and ``jit``.

    Returns
    -------
    dict of str to torch.nn.Module
        By name: the submodules of the classifier that have weights (CNN14's
        ``embedding_model`` and ``classifier``) and the submodules of the interpreter
        that are trained. Empty without ``--compile``.

    Raises
    ------
    SettingError
        If a key is not such a name, there is no C++ compiler, or ``--jit`` is given.
    """
    if run_opts.jit:
        raise SettingError("jit cannot script these networks: give --compile instead")
    if not run_opts.compile:
        return {}
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise SettingError(
            f"compile needs a C++ compiler, but there is no {compiler}: install it, "
            "name another one in the environment variable CXX, or remove --compile"
        )
    networks = {
        name: part
        for name, part in classifier.named_children()
        if any(True for _ in part.parameters())
    } | {
        name: part
        for name, part in interpreter.named_children()
        if any(parameter.requires_grad for parameter in part.parameters())
    }
    chosen = run_opts.compile_module_keys or list(networks)
    for name in chosen:
        if name not in networks:
            raise SettingError(
                f"compile_module_keys names {name!r}, which is not a network: give "
                f"--compile_module_keys some of {', '.join(networks)}"
            )
    return {name: networks[name] for name in chosen}


def compile_networks(
    interpreter: nn.Module,
    classifier: nn.Module,
    run_opts: RunOptions | sb.Brain,
) -> None:
    """Compile the networks of :func:`networks_to_compile` in place.

    A network is traced at its first call, and again for another kind of batch.

    Arguments
    ---------
    interpreter : Interpreter
    classifier : Classifier
    run_opts : speechbrain.utils.run_opts.RunOptions or Brain
        With SpeechBrain's ``compile...`` options.
    """
    for network in networks_to_compile(interpreter, classifier, run_opts).values():
        network.compile(
            mode=run_opts.compile_mode,
            fullgraph=run_opts.compile_using_fullgraph,
            # None: the first trace is for one shape, the second for any shape.
            dynamic=run_opts.compile_using_dynamic_shape_tracing or None,
        )
