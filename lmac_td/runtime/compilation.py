"""What SpeechBrain's ``--compile`` compiles here: the networks, each in its place.

SpeechBrain would wrap whole modules of the Brain. A wrapper compiles ``forward`` alone,
and the frozen classifier is asked by ``classify`` where gradients flow; what surrounds
the networks is STFTs, which are complex and gain nothing. So the networks themselves
are compiled: those that the interpreter learns and the classifier's own, by
``nn.Module.compile``, which changes neither a module's type nor its keys.
"""

import os
import shutil

from lmac_td.errors import SettingError


def networks_to_compile(interpreter, classifier, run_opts):
    """The networks that ``--compile`` and ``--compile_module_keys`` ask for.

    Arguments
    ---------
    interpreter : Interpreter
    classifier : Classifier
    run_opts : speechbrain.utils.run_opts.RunOptions or Brain
        With SpeechBrain's ``compile``, ``compile_module_keys`` and ``jit``.

    Returns
    -------
    dict of str to torch.nn.Module
        By their names, the parts of the classifier that have weights (CNN14's
        ``embedding_model`` and ``classifier``) and the parts of the interpreter that
        are learned; none without ``--compile``.

    Raises
    ------
    SettingError
        If a key names none of them, no C++ compiler is at hand, or ``--jit`` is given.
    """
    if run_opts.jit:
        raise SettingError("jit cannot script these networks: give --compile instead")
    if not run_opts.compile:
        return {}
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise SettingError(
            f"compile needs a C++ compiler and finds no {compiler}: install it, name "
            "another in the environment variable CXX, or leave --compile out"
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
                f"compile_module_keys names {name!r}: give --compile_module_keys some "
                f"of {', '.join(networks)}"
            )
    return {name: networks[name] for name in chosen}


def compile_networks(interpreter, classifier, run_opts):
    """Compile, in place, what :func:`networks_to_compile` chooses.

    A network is traced when it is first called, and again for another kind of batch.

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
            # Traced for one shape first, for any when a second one comes.
            dynamic=run_opts.compile_using_dynamic_shape_tracing or None,
        )
