# Public names and where they are; lmac_td/__init__.py imports each when it is used.
from . import metrics as metrics
from .contracts import Classifier as Classifier
from .contracts import Decision as Decision
from .contracts import Explanation as Explanation
from .evaluation.loop import evaluate as evaluate
from .experiment.build import load_recipe as load_recipe
from .experiment.open import open_experiment as open_experiment
from .inference.interpreter import AudioInterpreter as AudioInterpreter
from .interpreters.base import Interpreter as Interpreter
from .interpreters.flint import FLINT as FLINT
from .interpreters.l2i import L2I as L2I
from .interpreters.lmac import LMAC as LMAC
from .interpreters.lmac_td import LMACTD as LMACTD
from .interpreters.vibi import VIBI as VIBI
from .training.objectives import MaskingLoss as MaskingLoss

__version__: str
