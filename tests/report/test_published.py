"""The papers' rows: which belong to ours, and what is wrong with them."""

import math
import re

import pandas as pd
import pytest

from lmac_td.report.published import (
    METRICS,
    own_key,
    published_markdown,
    published_rows,
    read_published,
)

FIFTY = [f"class {i}" for i in range(50)]


def one(dataset, condition, method, table, **domain):
    (row,) = (
        row
        for row in published_rows(dataset, condition, method, **domain)
        if f"{row.paper} {row.table}" == table
    )
    return row


def slow_breaks_bound(sps, comp, n):
    """Whatever the two decimals were rounded from, for a map of n bins."""
    least = math.log(n) * (n * (1 - (sps + 0.005)) - 1) / (n - 1)
    return comp + 0.005 < least


def measured(*rows, **scores):
    columns = {"AI": 50.0, "AD (published)": 3.0, "SPS": 0.5, "SPS (mask)": 0.625}
    table = {}
    for row in rows:
        values = {name: [value] for name, value in (columns | scores).items()}
        table[row] = pd.DataFrame({"clip_id": ["a"], **values})
    return table


def lines_of(text):
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]


def test_every_row_is_read_as_it_is_printed():
    rows = read_published()
    assert len(rows) == 141
    for row in rows:
        assert row.domain in ("stft", "mel")
        assert row.cells.keys() == set(METRICS)
        assert all(not math.isnan(row.value(m)) for m in ("AI", "AD", "AG", "FF"))
        assert "\n" not in row.method
    first = rows[0]
    assert (first.paper, first.table, first.method) == ("LMAC-TD", "I", "Saliency")
    assert first.cells["AD"] == "15.79"
    assert math.isnan(first.value("MM"))
    ones = next(row for row in rows if row.method == "All-ones baseline")
    assert ones.cells["SPS"] == ""
    assert ones.value("MM") == 1


def test_every_method_of_the_papers_has_a_name_of_ours():
    ours = {
        own_key(name)
        for name in (
            "lmac", "lmac_mel", "lmac_finetune4", "lmac_finetune16", "lmac_finetune32",
            "lmac_mel_finetune4", "lmac_mel_finetune16", "lmac_mel_finetune32",
            "lmac_td_alpha0.75", "lmac_td_alpha0", "lmac_td_alpha1", "l2i_att",
            "saliency", "smoothgrad", "integrated_gradients", "gradcam",
            "guided_gradcam", "guided_backprop", "gradient_shap", "identity",
            "saliency (mel)", "smoothgrad (mel)", "integrated_gradients (mel)",
            "gradcam (mel)", "guided_gradcam (mel)", "guided_backprop (mel)",
            "deeplift_shap (mel)",
        )
    }  # fmt: skip
    assert {row.key for row in read_published()} == ours


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("lmac", ("stft", "lmac", None)),
        ("lmac_small", ("stft", "lmac", None)),
        ("lmac_small, seed 2", ("stft", "lmac", None)),
        ("lmac_mel_small", ("mel", "lmac", None)),
        ("lmac_finetune16_small", ("stft", "lmac", 16)),
        ("lmac_td_small_alpha0.75", ("stft", "lmac_td", 0.75)),
        ("lmac_td_alpha1.0", ("stft", "lmac_td", 1)),
        ("lmac_td_demo", ("stft", "lmac_td", None)),
        ("l2i_max_demo", ("stft", "l2i", None)),
        ("Saliency", ("stft", "saliency", None)),
        ("integrated_gradients_stft_small", ("stft", "ig", None)),
        ("guided_backprop (mel)", ("mel", "guided backprop", None)),
        ("guided_gradcam_mel_small", ("mel", "guided gradcam", None)),
        ("deeplift_shap", ("stft", "shap", None)),
        ("identity", ("stft", "all-ones baseline", None)),
        ("lmac, as audio", None),
        ("saliency (mel), as audio", None),
        ("occlusion", None),
        ("oracle", None),
        ("random mask", None),
        ("half gain", None),
        ("zeros", None),
        ("saliency_of_mine", None),
    ],
)
def test_our_names_are_understood(name, key):
    assert own_key(name) == key


def test_a_domain_may_stand_beside_the_name():
    assert own_key("saliency", "mel") == own_key("saliency (mel)")
    assert (
        one("ESC-50", "mixtures", "saliency", "L-MAC 2", domain="mel").domain == "mel"
    )


def test_dataset_condition_and_method_must_match():
    def found(*arguments):
        return [row.cells["AI"] for row in published_rows(*arguments)]

    assert found("ESC-50", "in_domain", "lmac_td_alpha0.75") == ["69.75"]
    assert found("ESC-50", "mixtures", "lmac_td_alpha0.75") == ["59.50"]
    assert found("ESC-50", "white_noise", "lmac_td_small_alpha0") == ["33.50"]
    assert found("ESC-50", "speech", "lmac_td_alpha1") == ["59.13"]
    assert found("ESC-50", "speech", "lmac_td_alpha0.5") == []
    assert found("ESC-50", "speech", "lmac_td") == ["59.13", "62.63", "44.25"]
    assert found("ESC-50", "clean", "lmac") == []
    assert found("ESC-10", "in_domain", "lmac") == []
    assert found("UrbanSound8K", "mixtures", "lmac") == ["27.12"]
    # Both papers print L-MAC's; the other threshold of its similarity is left out.
    assert found("ESC-50", "mixtures", "lmac") == ["60.63"] * 2
    assert found("ESC-50", "mixtures", "lmac_finetune4") == ["50.75"] * 2
    assert found("ESC-50", "mixtures", "lmac_finetune8") == []
    # L2I's threshold is not in its name.
    assert len(found("ESC-50", "in_domain", "l2i_att")) == 5


def test_the_bound_is_broken_in_domain_and_nowhere_else():
    n_bins = {"stft": 431 * 513, "mel": 431 * 80}
    broken = set()
    for row in read_published():
        sps, comp = row.value("SPS"), row.value("COMP")
        want = slow_breaks_bound(sps, comp, n_bins[row.domain])
        assert row.breaks_bound() == want
        if want:
            broken.add((row.paper, row.table, row.condition))
            assert "cannot belong to one map" in row.faults()[0]
    in_domain = "in-domain (WHAM!)"
    assert broken == {
        ("L-MAC", "1", in_domain),
        ("LMAC-TD", "I", in_domain),
        ("L-MAC", "5", in_domain),
    }
    halved = [r for r in read_published() if (r.paper, r.table) == ("L-MAC", "1")]
    assert all(row.breaks_bound() for row in halved)
    copied = [r for r in read_published() if r.condition == in_domain]
    copied = [r for r in copied if r.method.startswith("LMAC-TD")]
    assert len(copied) == 3
    assert not any(row.faults() for row in copied)


@pytest.mark.parametrize(
    ("condition", "method", "table", "fault"),
    [
        ("white_noise", "l2i_att", "L-MAC 4", "mean AG cannot exceed mean AI"),
        ("white_noise", "l2i_att", "LMAC-TD III", "SPS lies in"),
        ("in_domain", "guided_gradcam (mel)", "L-MAC 1", "mean AG cannot exceed"),
        ("mixtures", "gradcam", "L-MAC 2", "Fid-In 0.00 contradicts"),
        ("mixtures", "gradcam", "LMAC-TD II", "Fid-In 0.00 contradicts"),
        ("mixtures", "guided_backprop", "LMAC-TD II", "nearly equal to Saliency"),
        ("speech", "guided_backprop", "L-MAC 4", "nearly equal to Saliency"),
    ],
)
def test_cells_that_cannot_be_right_are_found(condition, method, table, fault):
    row = one("ESC-50", condition, method, table)
    assert any(fault in found for found in row.faults())


@pytest.mark.parametrize(
    ("condition", "method", "table"),
    [
        ("mixtures", "lmac", "L-MAC 2"),
        ("mixtures", "gradcam (mel)", "L-MAC 2"),
        ("mixtures", "smoothgrad", "LMAC-TD II"),
        ("white_noise", "gradcam", "L-MAC 4"),
        ("white_noise", "identity", "L-MAC 4"),
        ("in_domain", "lmac_td_alpha0.75", "LMAC-TD I"),
    ],
)
def test_what_may_be_right_is_left_alone(condition, method, table):
    assert one("ESC-50", condition, method, table).faults() == []


def test_halved_rows_are_doubled_as_the_protocol_has_them():
    text = published_markdown(FIFTY, measured(("in_domain", "lmac")))
    head, _, own, printed, doubled = lines_of(text)
    assert head == ["method", "from", *METRICS, "notes"]
    # Of the mask, and after a second softmax: what they measured.
    assert own[:4] == ["lmac", "here", "50.00", "3.00"]
    assert own[head.index("SPS")] == "0.625"
    assert printed[:3] == ["L-MAC", "LMAC-TD I, L-MAC 1", "36.25"]
    want = {
        "AI": "72.50", "AD": "–", "AG": "47.00", "FF": "0.40", "Fid-In": "0.84",
        "SPS": "0.94", "COMP": "9.42", "MM": "–",
    }  # fmt: skip
    assert dict(zip(head[2:-1], doubled[2:-1], strict=True)) == want
    assert printed[-1] == "a, b"
    assert "- a: SPS and COMP cannot belong to one map" in text
    assert "- b: the numbers of this table are half" in text
    assert "second softmax" in text


def test_what_doubling_does_not_mend_is_not_doubled():
    lines = lines_of(published_markdown(FIFTY, measured(("in_domain", "l2i_att"))))
    methods = [line[0] for line in lines]
    place = methods.index("L2I, RT=0.80")
    assert lines[place][-1] == "a, c"
    assert methods[place + 1 :] == []
    assert methods[methods.index("L2I, RT=0.2") + 1] == "… doubled"


def test_every_condition_has_a_section_and_rows_without_a_paper_are_named():
    rows = [
        ("mixtures", "lmac_small"),
        ("mixtures", "lmac_small, seed 2"),
        ("mixtures", "lmac_small, as audio"),
        ("mixtures", "zeros"),
        ("clean", "lmac_small"),
    ]
    text = published_markdown(FIFTY, measured(*rows))
    mixtures, clean = text.split("### Published: ")[1:]
    methods = [line[0] for line in lines_of(mixtures)[2:]]
    # The paper's row once, below both of ours.
    assert methods == ["lmac_small", "lmac_small, seed 2", "L-MAC"]
    assert "under this condition: lmac_small, as audio; zeros.\n" in mixtures
    assert clean == "clean\n\nNo paper reports, under this condition: lmac_small.\n"
    assert not re.search("^- a", text, flags=re.MULTILINE)


def test_a_metric_that_we_lack_is_a_dash():
    text = published_markdown(FIFTY, measured(("mixtures", "lmac_td_alpha1")))
    head, _, own, printed = lines_of(text)
    assert own[head.index("MM")] == printed[head.index("MM")] == "–"
    assert printed[1:3] == ["LMAC-TD II", "56.75"]


@pytest.mark.parametrize("method", ["lmac_mel", "saliency (mel)"])
@pytest.mark.parametrize("condition", ["in_domain", "mixtures"])
def test_a_map_on_mel_bands_is_not_set_beside_its_stand_in_on_the_stft(
    condition, method
):
    text = published_markdown(FIFTY, measured((condition, method), COMP=11.0))
    head, _, own, printed, *_ = lines_of(text)
    ours, theirs = (dict(zip(head, cells, strict=True)) for cells in (own, printed))
    assert ours["method"] == method
    for metric in ("SPS", "COMP"):
        assert ours[metric] == "–"
        assert float(theirs[metric]) > 0
    # What the classifier says of masked bands is theirs.
    assert (ours["AI"], ours["AD"]) == ("50.00", "3.00")
    # A sound is measured where theirs was: on the STFT.
    name = method.replace("_mel", "").replace(" (mel)", "")
    head, _, own, *_ = lines_of(
        published_markdown(FIFTY, measured((condition, name), COMP=11.0))
    )
    assert own[head.index("SPS")] == "0.625"
    assert own[head.index("COMP")] == "11.00"


URBAN = "lmac_td.data.sources.urbansound8k.UrbanSound8K(metadata/UrbanSound8K.csv)"


def test_urbansound8k_has_the_rows_of_its_own_table():
    rows = [("in_domain", "lmac_small"), ("in_domain", "oracle"), ("mixtures", "lmac")]
    text = published_markdown(FIFTY[:10], measured(*rows), URBAN)
    assert "which folds of UrbanSound8K were measured" in text
    in_domain, mixtures = text.split("### Published: ")[1:]
    methods = [line[:3] for line in lines_of(in_domain)[2:]]
    # The table of in-domain numbers breaks the bound, as that of ESC-50 does.
    ours, theirs = ["lmac_small", "here", "50.00"], ["L-MAC", "L-MAC 5", "19.09"]
    assert methods[:2] == [ours, theirs]
    assert "under this condition: oracle.\n" in in_domain
    assert ["L-MAC", "L-MAC 5", "27.12"] in [line[:3] for line in lines_of(mixtures)]
    assert "69.75" not in text  # ESC-50's


def test_rows_that_cannot_be_read_are_named():
    rows = [("white_noise", m) for m in ("lmac", "saliency")] + [("speech", "saliency")]
    text = published_markdown(FIFTY[:10], measured(*rows), URBAN)
    white_noise, speech = text.split("### Published: ")[1:]
    for section, method in ((white_noise, "lmac"), (speech, "saliency")):
        assert f"cannot be read with certainty: {method}.\n" in section
        assert "No paper reports" not in section
    assert "48.42" in white_noise


def test_another_data_set_gets_a_sentence():
    text = published_markdown(FIFTY[:10], measured(("in_domain", "lmac")))
    assert "No paper reports numbers for this data set, of 10 classes" in text
    assert lines_of(text) == []
