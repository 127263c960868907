"""Does another classifier agree? Tells explanations from adversarial masks.

A mask that is optimised for one classifier raises all of its scores, and a classifier
that was trained apart believes what the mask keeps less than it believes the mixture.
So these columns show the second classifier's probability of c, the class that the first
classifier decided (or the tag, or the class that is asked for). They need a second
classifier; :mod:`lmac_td.evaluation.second_classifier` runs it.
"""

from lmac_td.metrics.confidence import PROBABILITY_TOLERANCE
from lmac_td.metrics.registry import SECOND_CLASSIFIER, Metric, register


def _of_second(name, function, better=None, low=0):
    return Metric(
        name,
        function,
        better=better,
        range=(low, 1),
        tolerance=PROBABILITY_TOLERANCE,
        needs=("second_classifier",),
        group=SECOND_CLASSIFIER,
    )


register(
    _of_second("second (mixture)", lambda s: s.second_x),
    _of_second("second (kept)", lambda s: s.second_in, "higher"),
    _of_second("second (removed)", lambda s: s.second_out, "lower"),
    # Clip by clip, so that its interval is that of a paired comparison.
    _of_second("second (change)", lambda s: s.second_in - s.second_x, "higher", low=-1),
    _of_second("second Fid-In (mixture)", lambda s: s.second_agrees_x),
    _of_second("second Fid-In", lambda s: s.second_agrees_in, "higher"),
)
