"""The columns of the table: which metrics there are, in which group, how printed.

Three groups: faithfulness, as the papers report it; the ground truth, which mixing
keeps; and equal size, where keeping much cannot help.
"""

from dataclasses import dataclass

from lmac_td.metrics.curves import SIZES

PERCENTILES = (99.9, 99, 98)
# Ends the name of a row that scores the sounds of a method that masks spectrograms.
AS_AUDIO = ", as audio"
FAITHFULNESS, GROUND_TRUTH, EQUAL_SIZE = "faithfulness", "ground truth", "equal size"
GROUPS = (FAITHFULNESS, GROUND_TRUTH, EQUAL_SIZE)
# Names of the columns that come once a percentile, or once a size.
ETAS = tuple(f"eta ({percentile:g})" for percentile in PERCENTILES)
P_KEPT = tuple(f"p kept {100 * size:g} %" for size in SIZES)
P_REMOVED = tuple(f"p removed {100 * size:g} %" for size in SIZES)


@dataclass(frozen=True)
class Column:
    """One column of the printed table: a metric and a statistic over its clips.

    The arrow at the end of its header says whether higher or lower is better; a
    column without one says neither.
    """

    metric: str
    header: str
    decimals: int
    statistic: str = "mean"
    group: str = FAITHFULNESS

    @property
    def name(self):
        """Of the column in a file: no arrow, the statistic if it is no mean."""
        suffix = "" if self.statistic == "mean" else f" {self.statistic}"
        return self.metric + suffix


COLUMNS = (
    Column("AI", "AI (%) ↑", 2),
    Column("AD", "AD (%) ↓", 2),
    Column("AG", "AG (%) ↑", 2),
    Column("FF", "FF ↑", 3),
    Column("FF", "FF median ↑", 3, statistic="median"),
    Column("Fid-In", "Fid-In ↑", 3),
    Column("SPS", "SPS ↑", 3),
    Column("COMP", "COMP ↓", 2),
    Column("AD (published)", "AD (published) ↓", 2),
    Column("completeness (dB)", "completeness (dB) ↑", 1),
    Column("kept (dB)", "kept (dB)", 1),
)
# These stand in the table only if a method has a mask, if the sources are known, or if
# the classifier was asked about masks of equal size.
OPTIONAL_COLUMNS = (
    Column("SPS (mask)", "SPS (mask) ↑", 3),
    Column("COMP (mask)", "COMP (mask) ↓", 2),
    Column("MM", "MM", 3),
    *(Column(name, f"{name} ↑", 3, group=GROUND_TRUTH) for name in ETAS),
    Column("IoU (time)", "IoU (time) ↑", 3, group=GROUND_TRUTH),
    Column("SI-SDR (dB)", "SI-SDR (dB) ↑", 2, group=GROUND_TRUTH),
    Column("SI-SDRi (dB)", "SI-SDRi (dB) ↑", 2, group=GROUND_TRUTH),
    Column("target kept (dB)", "target kept (dB) ↑", 1, group=GROUND_TRUTH),
    Column("interference kept (dB)", "interference kept (dB) ↓", 1, group=GROUND_TRUTH),
    Column("insertion", "insertion ↑", 3, group=EQUAL_SIZE),
    Column("deletion", "deletion ↓", 3, group=EQUAL_SIZE),
    *(Column(name, f"{name} ↑", 3, group=EQUAL_SIZE) for name in P_KEPT),
    *(Column(name, f"{name} ↓", 3, group=EQUAL_SIZE) for name in P_REMOVED),
)
ALL_COLUMNS = (*COLUMNS, *OPTIONAL_COLUMNS)


def metrics_of(scores):
    """Return the names of the metrics that a row has, each once."""
    return dict.fromkeys(c.metric for c in ALL_COLUMNS if c.metric in scores)
