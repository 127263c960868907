"""A benchmark of small scripts, which end at once where the real ones take minutes."""

import json

from lmac_td.benchmark.listing import read_listing
from lmac_td.benchmark.plan import plan, split_options
from lmac_td.cli.benchmark import main
from lmac_td.evaluation.table import ALWAYS_WRITTEN
from lmac_td.report.same_mixtures import BEFORE

BENCHMARK = "recipes/ESC50/benchmark.py"
COMMAND = f"""
import json, os, sys, time
from pathlib import Path

root, kind = Path(__file__).parent, Path(__file__).stem
flags = dict(zip(sys.argv[2::2], sys.argv[3::2]))
recipe = Path(sys.argv[1]).stem
alpha, seed = flags.get("--alpha", "0.5"), flags.get("--seed", "7")
name = " ".join([kind, recipe, alpha, seed])
with open(root / "calls", "a") as file:
    file.write(name + chr(10))
print("these are", name, os.environ.get("OMP_NUM_THREADS"))
(root / (name + ".pid")).write_text(str(os.getpid()))
orders = json.loads((root / "orders.json").read_text()).get(name, {{}})
for _ in range(orders.get("sleep", 0) * 100):
    time.sleep(0.01)
for _ in range(6000):
    if (root / orders.get("wait for", "calls")).exists():
        break
    time.sleep(0.01)
if "exit" in orders:
    sys.exit(orders["exit"])
folder = root / "results" / (recipe + alpha) / seed
folder = Path(flags.get("--output_folder", folder))
scores = dict.fromkeys({list(ALWAYS_WRITTEN)}, seed)
scores |= {{"condition": "clean", "method": recipe + alpha, "clip_id": "a"}}
scores |= {{"decided": 0, "p_x": 0.5}}
settings = {{"seed": int(seed), "test_fold_nums": 1, "mixing_seed": 1, "snr_db": {{}}}}
settings |= {{"methods": [recipe + alpha], "remarks": {{}}}}
settings["recipe"] = dict.fromkeys({list(BEFORE)}, 0)
weights = flags.get("--pretrained_classifier", 0)
settings["recipe"]["pretrained_classifier"] = weights
condition = flags.get("--condition", "all")
made = {{
    "prepare": "model",
    "train": "save",
    "evaluate": "evaluation" + ("" if condition == "all" else "_" + condition),
}}[kind]
if not orders.get("makes nothing"):
    (folder / made).mkdir(parents=True, exist_ok=True)
    lines = [",".join(map(str, part)) for part in (scores, scores.values())]
    (folder / made / "clips.csv").write_text(chr(10).join(lines))
    (folder / made / "table.json").write_text(json.dumps({{"settings": settings}}))
"""
RECIPE = """
seed: 7
alpha: 0.5
data_folder: data
condition: all
wham_snr_db: 0
speech_snr_db: 3
snr: paper
ljspeech_folder: {folder}
number_of_epochs: 3
num_workers: 0
pretrained_classifier: null
second_classifier: null
pretrained_interpreter: null
experiment_name: !ref {name}<alpha>
output_folder: !ref {folder}/results/<experiment_name>/<seed>
save_folder: !ref <output_folder>/save
conditions:
    in_domain: !new:no.such.Condition {{}}
    speech: !new:no.such.Condition {{}}
    clean: !new:no.such.Condition {{}}
model: !new:no.such.Model
    alpha: !ref <alpha>
settings:
    seed: {{role: training, type: int}}
    alpha: {{role: training, type: float}}
    data_folder: {{role: [training, evaluation, mixture], type: path}}
    condition: {{role: evaluation, type: "str or list[str]"}}
    wham_snr_db: {{role: [training, evaluation, mixture], type: float}}
    speech_snr_db: {{role: [evaluation, mixture], type: float}}
    snr: {{role: [evaluation, mixture], type: str, choices: [paper, published]}}
    ljspeech_folder: {{role: [evaluation, mixture], type: path}}
    number_of_epochs: {{role: length, type: int}}
    num_workers: {{role: run, type: int}}
    pretrained_classifier: {{role: [pretrained, mixture], type: path, optional: true}}
    second_classifier: {{role: evaluation, type: "list[path]", optional: true}}
    pretrained_interpreter: {{role: pretrained, type: path, optional: true}}
    experiment_name: {{role: training, type: str}}
    output_folder: {{role: run, type: path}}
    save_folder: {{role: run, type: path}}
    conditions: {{role: [training, evaluation, mixture], type: object}}
    model: {{role: training, type: object}}
"""
CLASSIFIER = """
seed: 7
data_folder: data
learning_speed: 1
output_folder: {folder}/results/classifier0.5/7
save_folder: !ref <output_folder>/save
settings:
    seed: {{role: training, type: int}}
    data_folder: {{role: training, type: path}}
    learning_speed: {{role: training, type: int}}
    output_folder: {{role: run, type: path}}
    save_folder: {{role: run, type: path}}
"""
LISTED = """
prepare:
  - {{script: {f}/prepare.py, recipe: {f}/classifier.yaml, makes: model}}
methods:
  - &tuned
    recipe: {f}/mask.yaml
    train: {f}/train.py
    evaluate: {f}/evaluate.py
    settings: {{alpha: 0.75}}
    seeds: [1, 2]
  - <<: *tuned
    recipe: {f}/tune.yaml
    settings: {{}}
    seeds: [2]
    after: mask_alpha0.75
"""
PREPARE = ["prepare classifier 0.5 7"]
MASK_1 = ["train mask 0.75 1", "evaluate mask 0.75 1"]
MASK_2 = ["train mask 0.75 2", "evaluate mask 0.75 2"]
TUNE_2 = ["train tune 0.5 2", "evaluate tune 0.5 2"]
CLASSIFIERS = """
classifiers:
  - {name: first, pretrained_classifier: weights/a, second_classifier: [weights/b]}
  - {name: other, pretrained_classifier: weights/b, second_classifier: [weights/a]}
"""
ALL = [*PREPARE, *MASK_1, *MASK_2, *TUNE_2]


class Bench:
    """A benchmark of small scripts in a folder."""

    def __init__(self, folder):
        self.folder = folder
        for kind in ("prepare", "train", "evaluate"):
            (folder / f"{kind}.py").write_text(COMMAND)
        for name in ("mask", "tune"):
            text = RECIPE.format(folder=folder, name=name)
            (folder / f"{name}.yaml").write_text(text)
        (folder / "classifier.yaml").write_text(CLASSIFIER.format(folder=folder))
        self.path = folder / "benchmark.yaml"
        self.path.write_text(LISTED.format(f=folder))
        self.results = folder / "results"
        self.order()

    def list_classifiers(self):
        """Let the methods run for each of two classifiers."""
        self.path.write_text(self.path.read_text() + CLASSIFIERS)

    def order(self, **orders):
        """Tell commands, by name, how to behave."""
        orders = {name.replace("_", " "): what for name, what in orders.items()}
        (self.folder / "orders.json").write_text(json.dumps(orders))

    def argv(self, *arguments):
        return [str(self.path), "--folder", str(self.folder / "bench"), *arguments]

    def run(self, *arguments):
        """Exit code, and what was run."""
        (self.folder / "calls").write_text("")
        code = main(self.argv(*arguments))
        return code, self.calls()

    def calls(self):
        return (self.folder / "calls").read_text().splitlines()

    def plan(self, *arguments):
        return plan(read_listing(self.path), split_options(arguments))

    def state(self, made):
        minutes = json.loads((self.folder / "bench" / "minutes.json").read_text())
        return minutes[str(self.results / made)]["state"]

    def log(self, name):
        return (self.folder / "bench" / "logs" / f"{name}.log").read_text()


def orders(name, **what):
    """How a command is to behave, for :meth:`Bench.order`."""
    return {name.replace(" ", "_"): what}
