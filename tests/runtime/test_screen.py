"""The screen of a training shows one line per epoch and warnings; a file has it all."""

import subprocess
import sys
import textwrap

TRAINING = textwrap.dedent(
    """
    import logging
    import sys

    import speechbrain as sb
    from speechbrain.utils.epoch_loop import EpochCounter
    from speechbrain.utils.train_logger import FileTrainLogger

    from lmac_td.runtime.screen import LOG_CONFIG

    folder = sys.argv[1]
    sb.create_experiment_directory(folder, log_config=str(LOG_CONFIG))
    logger = FileTrainLogger(save_file=f"{folder}/train_log.txt")
    for epoch in EpochCounter(limit=2):
        logger.log_stats({"epoch": epoch}, {"loss": 1.0}, {"loss": 2.0})
        logging.getLogger("lmac_td.training.checkpoints").info("Saved a checkpoint")
    logging.getLogger("lmac_td.training.brain").warning("the mask keeps nothing")
    """
)


def test_the_screen_shows_one_line_an_epoch_and_warnings(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", TRAINING, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    epochs = [
        f"epoch: {epoch} - train loss: 1.00e+00 - valid loss: 2.00" for epoch in (1, 2)
    ]
    assert done.stdout.splitlines() == [*epochs, "the mask keeps nothing"]
    log = (tmp_path / "log.txt").read_text()
    for message in ("Beginning experiment", "Going into epoch 2", "Saved", *epochs):
        assert message in log
