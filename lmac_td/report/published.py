"""Print what the papers report below our results, and what is wrong with it.

``published_results.csv`` holds the tables of L-MAC (Paissan et al., ICML 2024) and of
LMAC-TD (Mancini et al.) as they are printed. Several of their rows hold numbers
that no correct measurement can give; where a rule shows it, the rule is applied to
every row, and only the rest is listed by hand.
"""

import csv
import functools
import re
from dataclasses import dataclass
from importlib import resources

from lmac_td.evaluation.bootstrap import value_of
from lmac_td.evaluation.frame import values_of
from lmac_td.evaluation.markdown import markdown_table, number
from lmac_td.metrics.conciseness import complexity_bound
from lmac_td.metrics.registry import find

METRICS = ("AI", "AD", "AG", "FF", "Fid-In", "SPS", "COMP", "MM")
# All columns but AD, which a second softmax also changes.
_DOUBLED = ("AI", "AG", "FF", "Fid-In", "SPS", "COMP")
# Sizes of a clip of 5 s: 431 frames of 513 bins or 80 mel bands.
_N_BINS = {"stft": 431 * 513, "mel": 431 * 80}
_CONDITIONS = {
    "in_domain": "in-domain (WHAM!)",
    "mixtures": "out-of-domain (mixtures)",
    "white_noise": "out-of-domain (white noise)",
    "speech": "out-of-domain (LJSpeech)",
}
# Our names, and the papers'.
_METHODS = {
    "saliency": "saliency",
    "smoothgrad": "smoothgrad",
    "integrated_gradients": "ig",
    "gradcam": "gradcam",
    "guided_gradcam": "guided gradcam",
    "guided_backprop": "guided backprop",
    "gradient_shap": "shap",
    "deeplift_shap": "shap",
    "identity": "all-ones baseline",
}
# Rows that are printed in L-MAC's table 5, but cannot be read with certainty.
_UNREADABLE = {
    ("UrbanSound8K", "white_noise"): {
        ("stft", "lmac", None),
        ("stft", "all-ones baseline", None),
    },
    ("UrbanSound8K", "speech"): {
        ("stft", "saliency", None),
        ("stft", "smoothgrad", None),
    },
}
_RUN = re.compile(r"( \(mel\)|, seed \d+|_(small|demo|stft|mel|seed_?\d+))+$")

_HALVED = (
    "SPS and COMP cannot belong to one map: COMP ≥ ln n (n (1 − SPS) − 1) / (n − 1) "
    "for every map of n bins, and so for their means"
)
_DOUBLED_BELOW = (
    "the numbers of this table are half of what they should be; the line below has "
    "them doubled, but for AD"
)
_STILL_BROKEN = (
    "doubled, SPS and COMP still cannot: maps that are zero everywhere seem to have "
    "been counted as 0"
)
_GAIN = "mean AG cannot exceed mean AI"
_SHARE = "SPS lies in [0, 1)"
_COLLAPSED = (
    "nearly equal to Saliency: where a ReLU is no module, Captum's Guided Backprop is "
    "the plain gradient"
)
_NO_FIDELITY = (
    "Fid-In 0.00 contradicts this AI: no decision would survive, not even "
    "where the confidence in it rises"
)
# (paper, table, domain, method): faults that no rule finds.
_KNOWN = {
    ("L-MAC", "2", "stft", "GradCAM"): _NO_FIDELITY,
    ("LMAC-TD", "II", "stft", "GradCAM"): _NO_FIDELITY,
}

_PREFACE = """\
Means that L-MAC (Paissan et al., 2024) and LMAC-TD (Mancini et al.) report for the same
data set, condition and method, below ours. Their classifiers and checkpoints are
different. Their AD uses a second softmax, which moves it towards 0, so ours here is
`AD (published)`. Their SPS and COMP are computed on the mask for L-MAC and on
log1p|STFT(i)| for LMAC-TD. Ours here are those of the mask, if a method masks the STFT.
If it masks mel bands, ours are left out: they are computed on the sound, on the many
more bins of the STFT. Their texts mix at 5 dB
(mixtures), 3 dB (white noise) and 3 dB (speech); the published code mixes at 12.04,
6.02 and 12.04 dB, as `--snr published` does.
"""


_URBANSOUND8K = """\
L-MAC's text says neither which folds of UrbanSound8K were measured nor how long a clip
was.
"""


@dataclass(frozen=True, eq=False)
class PublishedRow:
    """One row of a paper's table.

    Attributes
    ----------
    paper, table, dataset, condition, domain, method : str
        Names as in the paper; domain is ``stft`` or ``mel``.
    cells : dict of str to str
        Printed values by metric; "" if the cell is empty or not a number.
    """

    paper: str
    table: str
    dataset: str
    condition: str
    domain: str
    method: str
    cells: dict

    def value(self, metric):
        """Return a printed value as a number; NaN if there is none."""
        return float(self.cells[metric] or "nan")

    @property
    def key(self):
        """Domain, method and its parameter, to be compared with that of our rows."""
        name = self.method.lower()
        if name.startswith("lmac-td"):
            return self.domain, "lmac_td", _parameter("alpha", name)
        if name.startswith("l-mac"):
            return self.domain, "lmac", _parameter("lambda_g", name)
        if name.startswith("l2i"):
            return self.domain, "l2i", None
        return self.domain, name, None

    def faults(self):
        """Return what cannot be right in the row, one sentence per fault."""
        found = []
        if self.breaks_bound():
            doubled = self.breaks_bound(factor=2)
            found += [_HALVED, _STILL_BROKEN if doubled else _DOUBLED_BELOW]
        # To the last digit that is printed.
        if self.value("AG") > self.value("AI") + 0.01:
            found.append(_GAIN)
        if not 0 <= self.value("SPS") < 1 and self.cells["SPS"]:
            found.append(_SHARE)
        if self.method == "Guided Backprop" and self._equals_saliency():
            found.append(_COLLAPSED)
        known = _KNOWN.get((self.paper, self.table, self.domain, self.method))
        return found + ([known] if known else [])

    def breaks_bound(self, factor=1):
        """Return whether no map has SPS and COMP times a factor, even unrounded."""
        sps, comp = (factor * (self.value(m) + 0.005) for m in ("SPS", "COMP"))
        return comp < complexity_bound(sps, _N_BINS[self.domain])

    def _equals_saliency(self):
        return any(
            other.method == "Saliency"
            and all(
                abs(self.value(metric) - other.value(metric)) < 0.015
                for metric in ("FF", "Fid-In", "SPS", "COMP")
            )
            for other in read_published()
            if _place(other) == _place(self)
        )


def _place(row):
    return row.paper, row.table, row.dataset, row.condition, row.domain


def _parameter(name, text):
    found = re.search(rf"{name}\s*=?\s*(\d+(\.\d+)?)", text)
    return float(found[1]) if found else None


@functools.cache
def read_published():
    """Read all rows of the papers' tables.

    Returns
    -------
    tuple of PublishedRow

    Example
    -------
    >>> read_published()[-1].paper
    'L-MAC'
    """
    path = resources.files(__package__) / "published_results.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return tuple(
            PublishedRow(
                *(
                    " ".join(line[name].split())
                    for name in (
                        "paper", "table", "dataset", "condition", "domain", "method"
                    )
                ),
                cells={m: "" if "N" in line[m] else line[m] for m in METRICS},
            )
            for line in csv.DictReader(file)
        )  # fmt: skip


def published_rows(dataset, condition, method, domain="stft"):
    """Return what the papers report for a row of ours.

    Arguments
    ---------
    dataset : str
        Name as in the papers: ``ESC-50`` or ``UrbanSound8K``.
    condition : str
        ``in_domain``, ``mixtures``, ``white_noise`` or ``speech``; others have no rows.
    method : str
        Name of our row, such as ``lmac_td_alpha0.75``, ``lmac_finetune4_small``,
        ``saliency`` or ``saliency (mel)``. Without an alpha, every alpha's row is
        given; L2I's names hold no threshold, so all of them are given. A row that is
        scored on the resynthesised sound has none: the papers give the classifier
        masked spectrograms.
    domain : str
        ``stft`` or ``mel``, if the name of the row does not contain it.

    Returns
    -------
    tuple of PublishedRow

    Example
    -------
    >>> [row.table for row in published_rows("ESC-50", "in_domain", "lmac_small")]
    ['I', '1']
    """
    key = own_key(method, domain)
    if key is None:
        return ()
    return tuple(
        row
        for row in read_published()
        if (row.dataset, row.condition) == (dataset, _CONDITIONS.get(condition))
        if _is_of(row, key)
    )


def own_key(row, domain="stft"):
    """Domain, method and parameter of one of our rows; None if no paper has it.

    Example
    -------
    >>> own_key("lmac_td_small_alpha0.75")
    ('stft', 'lmac_td', 0.75)
    >>> own_key("saliency (mel)")
    ('mel', 'saliency', None)
    """
    name, *remarks = row.lower().split(", ")
    if "as audio" in remarks:
        return None
    words = re.split(r"[ _()]+", name)
    if "mel" in words:
        domain = "mel"
    if words[:2] == ["lmac", "td"]:
        return domain, "lmac_td", _parameter("alpha", name)
    if words[0] == "lmac":
        return domain, "lmac", _parameter("finetune", name)
    if words[0] == "l2i":
        return domain, "l2i", None
    method = _METHODS.get(_RUN.sub("", name))
    return method and (domain, method, None)


def _is_of(row, key):
    domain, method, parameter = row.key
    if (domain, method) != key[:2]:
        return False
    if "CCT" in row.method:  # another threshold than our recipe's, 0.6
        return False
    return parameter == key[2] or (method == "lmac_td" and key[2] is None)


def dataset_of(class_names, identity=""):
    """Return the papers' name of a data set; None if they report nothing for it.

    Arguments
    ---------
    class_names : sequence of str
        The evaluated classes.
    identity : str
        The identity of the data source.

    Example
    -------
    >>> dataset_of(range(50))
    'ESC-50'
    >>> dataset_of(range(10), "lmac_td.data.sources.urbansound8k.UrbanSound8K(a.csv)")
    'UrbanSound8K'
    """
    if ".UrbanSound8K(" in identity and len(class_names) == 10:
        return "UrbanSound8K"
    return "ESC-50" if len(class_names) == 50 else None


def published_markdown(class_names, rows, identity=""):
    """Render the papers' rows below ours, with what is wrong with them.

    Arguments
    ---------
    class_names : sequence of str
        The evaluated classes. Fifty are ESC-50's; the papers report
        nothing for fewer of them.
    rows : dict of (str, str) to pandas.DataFrame
        Rows of a :class:`~lmac_td.evaluation.table.FaithfulnessTable`.
    identity : str
        The identity of the data source, by which UrbanSound8K is known.

    Returns
    -------
    str
        Markdown, a section per condition.
    """
    dataset = dataset_of(class_names, identity)
    if dataset is None:
        return (
            "### Published\n\nNo paper reports numbers for this data set, of "
            f"{len(class_names)} classes: L-MAC and LMAC-TD were measured on the 50 of "
            "ESC-50, and L-MAC on UrbanSound8K.\n"
        )
    notes, sections = {}, []
    for condition in dict.fromkeys(condition for condition, _ in rows):
        lines, unmatched, unread = _condition_lines(dataset, condition, rows, notes)
        section = f"### Published: {condition}\n\n"
        if lines:
            section += markdown_table(["method", "from", *METRICS, "notes"], lines)
        if unmatched:
            section += ("\n" if lines else "") + (
                f"No paper reports, under this condition: {'; '.join(unmatched)}.\n"
            )
        if unread:
            section += ("\n" if lines or unmatched else "") + (
                "L-MAC's table 5 prints these, but their numbers cannot be read with "
                f"certainty: {'; '.join(unread)}.\n"
            )
        sections.append(section)
    listed = "".join(f"- {letter}: {note}.\n" for note, letter in notes.items())
    about = _PREFACE + (_URBANSOUND8K if dataset == "UrbanSound8K" else "")
    return "\n".join([about, *sections, *([listed] if listed else [])])


def _condition_lines(dataset, condition, rows, notes):
    """Return a condition's lines, our rows without a paper, and those not readable."""
    groups, unmatched, unread = {}, [], []
    for (name, method), scores in rows.items():
        if name == condition:
            found = published_rows(dataset, condition, method)
            if found:
                groups.setdefault(found, []).append((method, scores))
            elif own_key(method) in _UNREADABLE.get((dataset, condition), ()):
                unread.append(method)
            else:
                unmatched.append(method)
    lines = []
    for found, own in groups.items():
        domain = found[0].domain
        lines += [[method, "here", *_own_cells(s, domain), ""] for method, s in own]
        for row, sources in _merged(found):
            faults = row.faults()
            letters = [
                notes.setdefault(fault, chr(ord("a") + len(notes))) for fault in faults
            ]
            cells = [row.cells[metric] or "–" for metric in METRICS]
            lines.append([row.method, sources, *cells, ", ".join(letters)])
            if _DOUBLED_BELOW in faults:
                lines.append(["… doubled", "", *_doubled_cells(row), ""])
    return lines, unmatched, unread


def _merged(found):
    """Merge rows that both papers print, with the tables that hold them."""
    merged = {}
    for row in found:
        # Only L-MAC prints MM, so it is not compared.
        numbers = tuple(row.value(metric) for metric in METRICS[:-1])
        merged.setdefault((row.key, str(numbers)), []).append(row)
    return [
        (
            max(same, key=lambda row: len("".join(row.cells.values()))),
            ", ".join(f"{row.paper} {row.table}" for row in same),
        )
        for same in merged.values()
    ]


def _own_cells(scores, domain):
    names = {"AD": "AD (published)"}
    names |= {m: f"{m} (mask)" for m in ("SPS", "COMP") if f"{m} (mask)" in scores}
    cells = []
    for metric in METRICS:
        name, value = names.get(metric, metric), float("nan")
        # For a mel mask, only the map on the STFT is measured, which has more bins.
        if name in scores and not (domain == "mel" and metric in ("SPS", "COMP")):
            value = value_of(values_of(scores, name), "mean")
        cells.append(number(value, find(name).decimals))
    return cells


def _doubled_cells(row):
    return [
        f"{2 * row.value(m):.{len(row.cells[m].partition('.')[2])}f}"
        if m in _DOUBLED
        else "–"
        for m in METRICS
    ]
