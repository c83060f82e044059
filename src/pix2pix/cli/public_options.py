"""Say what does here what an option of pytorch-CycleGAN-and-pix2pix does there."""

_SHOWN = "every epoch prints a line; `report.html`, `curves.png`, `samples/` and `tensorboard/` show the rest"
PUBLIC_OPTIONS = {
    "dataroot": "the folder of pairs is a word of its own, as in `pix2pix train DATA`",
    "data": "the folder of pairs is a word of its own, as in `pix2pix train DATA`",
    "name": "`--run DIR` of train names the folder of a run; elsewhere it is the word MODEL",
    "checkpoints_dir": "`--run DIR` of train names the folder of a run; elsewhere it is the word MODEL",
    "results_dir": "`pix2pix translate MODEL images --output DIR` names it",
    "output": "`--run DIR` of train names the folder of a run",
    "model": "it is pix2pix always; to begin with another model's weights, `--from MODEL`",
    "phase": "train takes the pairs of train/, `pix2pix evaluate --split` names another split",
    "continue_train": "the same command again goes on where it stopped",
    "epoch_count": "the same command again goes on where it stopped",
    "niter": "`--epochs` counts all epochs, `--schedule linear` lowers the rate over their second half",
    "n_epochs": "`--epochs` counts all epochs, `--schedule linear` lowers the rate over their second half",
    "niter_decay": "`--epochs` counts all epochs, `--schedule linear` lowers the rate over their second half",
    "n_epochs_decay": "`--epochs` counts all epochs, `--schedule linear` lowers the rate over their second half",
    "lr": "`--learning-rate`",
    "lr_policy": "`--schedule`",
    "beta1": "`--betas 0.5 0.999`",
    "gan_mode": "`--adversarial`",
    "lambda_l1": "`--l1-weight`",
    "netg": "`--generator.kind unet`, whose depth follows from `--image-size`, or `--generator.kind resnet`",
    "netd": "`--discriminator.patch-size`",
    "n_layers_d": "`--discriminator.patch-size`",
    "ngf": "`--base-channels`, or `--generator.base-channels` alone",
    "ndf": "`--base-channels`, or `--discriminator.base-channels` alone",
    "norm": "`--generator.norm` and `--discriminator.norm`",
    "no_dropout": "`--generator.dropout 0`",
    "input_nc": "the files tell; `--source-channels` states it",
    "output_nc": "the files tell; `--target-channels` states it",
    "crop_size": "`--image-size`; the size before the crop is `--load-size`",
    "preprocess": "`--jitter` resizes and crops, `--load-size native` only crops",
    "num_threads": "`--workers`",
    "gpu_ids": "`--device`, and `--devices` for several",
    "dataset_mode": "the layout is recognised; `pix2pix data check DATA` says as what",
    "eval": "`--norm-statistics` of train and convert chooses what batch norm uses",
    "num_test": "`pix2pix translate MODEL FILE ...` takes the files that it is given",
    "use_wandb": "nothing is sent anywhere; `tensorboard/` of the run has the curves",
    "display_id": _SHOWN,
    "display_freq": _SHOWN,
    "display_port": _SHOWN,
    "print_freq": _SHOWN,
    "update_html_freq": _SHOWN,
    "no_html": _SHOWN,
    "save_latest_freq": "the newest state is always saved",
    "save_epoch_freq": "`--keep-every`; the newest state is always saved",
}
"""Option in lower case with underscores -> what does it here."""


def suggest_option(name: str) -> str | None:
    """Return what does here what the public code's option `name` does; None if it is not one.

    >>> suggest_option("lambda_L1")
    '`--l1-weight`'
    """
    return PUBLIC_OPTIONS.get(name.lower().replace("-", "_"))
